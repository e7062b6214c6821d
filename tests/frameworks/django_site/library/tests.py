"""Django's own patterns of tests, run by ``manage.py test``."""

import json
import threading
import urllib.request

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.test import LiveServerTestCase, TestCase, TransactionTestCase

import mvsqlite_py
from library.models import Author, Book
from mvsqlite_py.django import at


def in_store():
    return not connection.is_in_memory_db()


class InATransaction(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.author = Author.objects.create(name="Lem")
        Book.objects.bulk_create([Book(author=cls.author, title=f"book {n}") for n in range(250)])

    def test_rows_of_this_test(self):
        Book.objects.create(author=self.author, title="one more")
        self.assertEqual(Book.objects.count(), 251)

    def test_rows_of_the_other_test_are_gone(self):
        self.assertEqual(self.author.books.count(), 250)

    def test_savepoints(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Author.objects.create(name="Lem")
        with transaction.atomic():
            Author.objects.create(name="Le Guin")
        self.assertEqual(Author.objects.count(), 2)

    def test_select_for_update_is_no_more_than_select(self):
        with transaction.atomic():
            self.assertEqual(Author.objects.select_for_update().get().name, "Lem")

    def test_there_is_no_looking_back_in_a_transaction(self):
        with self.assertRaisesRegex(mvsqlite_py.MisuseError, "outside of atomic"), at("now"):
            pass

    def test_captured_on_commit(self):
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            transaction.on_commit(lambda: Author.objects.create(name="later"))
        self.assertEqual(len(callbacks), 1)
        self.assertTrue(Author.objects.filter(name="later").exists())


class Committing(TransactionTestCase):
    reset_sequences = True

    def test_a_transaction_that_fails_leaves_nothing(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Author.objects.create(name="nobody")
            _ = 1 / 0
        self.assertEqual(Author.objects.count(), 0)

    def test_sequences_begin_anew(self):
        self.assertEqual(Author.objects.create(name="first").pk, 1)

    def test_threads_with_connections_of_their_own(self):
        def write(n):
            for i in range(5):
                Author.objects.create(name=f"{n}.{i}")
            connection.close()

        if not in_store():
            self.skipTest("a database in memory is one connection's")
        threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(Author.objects.count(), 15)

    def test_looking_back(self):
        if not in_store():
            self.skipTest("memory has no past")
        author = Author.objects.create(name="Lem")
        with connection.cursor() as cursor:
            version = cursor.execute("SELECT mv_version()").fetchone()[0]
        author.delete()
        with at(version=version):
            self.assertEqual(Author.objects.get().name, "Lem")
            connection.close()
            self.assertEqual(Author.objects.get().name, "Lem")
            with self.assertRaisesRegex(OperationalError, "readonly"):
                Author.objects.create(name="nobody")
            with at("now"):
                self.assertEqual(Author.objects.count(), 0)
            self.assertEqual(Author.objects.count(), 1)
        self.assertEqual(Author.objects.count(), 0)
        Author.objects.create(name="somebody")


class Migrating(TransactionTestCase):
    def migrate(self, name):
        executor = MigrationExecutor(connection)
        executor.migrate([("library", name)])
        return MigrationExecutor(connection).loader.project_state([("library", name)]).apps

    def test_down_and_up(self):
        apps = self.migrate("0001_initial")
        author = apps.get_model("library", "Author").objects.create(name="Lem")
        apps.get_model("library", "Book").objects.create(author=author, title="two copies of Solaris")
        self.migrate("0002_copies")
        self.assertEqual(Book.objects.get().copies, 2)
        self.assertEqual(Book.objects.get().author.name, "Lem")


class Live(LiveServerTestCase):
    def test_the_server_sees_what_the_test_does(self):
        author = Author.objects.create(name="Lem")
        for titles in (["Solaris"], ["Solaris", "Fiasco"]):
            Book.objects.create(author=author, title=titles[-1])
            with urllib.request.urlopen(f"{self.live_server_url}/titles") as answer:
                self.assertEqual(json.load(answer), titles)
