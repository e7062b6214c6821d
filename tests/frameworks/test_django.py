"""The Django backend: a site's own tests, its commands, and the site itself while it serves."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mvsqlite_py
from serving import Serve

pytest.importorskip("django")

SITE = Path(__file__).with_name("django_site")
BIN = Path(sys.executable).parent

Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SITE, tmp_path / "site"))


@pytest.fixture
def manage(site: Path, store_url: str) -> Manage:
    """Runs ``manage.py``; it must succeed."""

    def run(*words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        variables = {"SITE_STORE": store_url, "PATH": f"{BIN}:{os.environ['PATH']}"} | variables
        ran = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "manage.py", *words],
            cwd=site,
            env=os.environ | variables,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran

    return run


MAKE = """
from library.models import *
lem, guin = Author.objects.create(name="Lem"), Author.objects.create(name="Le Guin")
for n in range(3): Book.objects.create(author=guin, title=f"Earthsea {n}")
Book.objects.create(author=lem, title="Solaris")
"""


@pytest.mark.parametrize(
    ("name", "words"), [("", []), ("test_library.db", []), ("test_library.db", ["--parallel", "2"])]
)
def test_the_sites_own_tests(
    manage: Manage, store: mvsqlite_py.Store, name: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, in the store, and in branches of a database in the store."""
    ran = manage("test", "--noinput", *words, **({"SITE_TEST_NAME": name} if name else {}))
    assert "Ran 12 tests" in ran.stderr
    assert store.list() == []
    monkeypatch.setattr(mvsqlite_py._retention, "clock_ms", lambda: time.time_ns() // 1_000_000 + 61_000)
    while store.gc_deleted():
        pass  # a branch goes before what it is one of
    assert store.list(deleted=True) == []


MOVE = """
import io, json
from django.core.management import call_command

def dump():
    said = io.StringIO()
    call_command("dumpdata", "library", stdout=said)
    return json.loads(said.getvalue())

call_command("migrate", verbosity=0)
exec(MAKE)
call_command("migrate", "library", "0001", verbosity=0)
call_command("migrate", verbosity=0)
dumped = dump()
open("data.json", "w").write(json.dumps(dumped))
call_command("flush", interactive=False)
assert (len(dumped), dump()) == (6, [])
call_command("loaddata", "data.json", verbosity=0)
assert dump() == dumped
said = io.StringIO()
call_command("inspectdb", "library_author", stdout=said)
assert "CharField" in said.getvalue()
print("all moved")
"""


def test_migrations_and_data_go_in_and_out(manage: Manage, store: mvsqlite_py.Store) -> None:
    assert "all moved" in manage("shell", "-c", f"MAKE = {MAKE!r}\n{MOVE}").stdout
    assert "4\n" in manage("dbshell", stdin="SELECT count(*) FROM library_book;\n").stdout
    assert store.database("library.db").verify().problems == []


def test_a_bad_delete_in_the_admin_is_undone_while_the_site_serves(
    manage: Manage, store: mvsqlite_py.Store, site: Path, serve: Serve
) -> None:
    manage("migrate")
    manage("shell", "-c", MAKE + "from django.contrib.auth.models import User\n"
           "User.objects.create_superuser('me', '', 'secret')")  # fmt: skip
    gunicorn = [
        "gunicorn",
        "--workers",
        "2",
        "--bind",
        "unix:{socket}",
        "--no-control-socket",
        "--chdir",
        str(site),
        "site_wsgi",
    ]
    with serve(*gunicorn, ready="/titles", env={"SITE_STORE": store.url}) as client:
        titles = ["Earthsea 0", "Earthsea 1", "Earthsea 2", "Solaris"]
        assert client.get("/titles").json() == titles
        client.get("/admin/login/")
        form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "next": "/admin/"}
        assert client.post("/admin/login/", data=form | {"username": "me", "password": "secret"}).is_redirect
        form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "post": "yes"}
        delete = form | {"action": "delete_selected", "_selected_action": "2"}
        assert client.post("/admin/library/author/", data=delete).is_redirect
        for _ in range(4):
            assert client.get("/titles").json() == ["Solaris"]
        database = store.database("library.db")
        bad = next(v.version for v in database.versions() if "library_author" in (v.statements or ""))
        assert database.undo(version=bad).untouched == []
        for _ in range(4):
            assert client.get("/titles").json() == titles
