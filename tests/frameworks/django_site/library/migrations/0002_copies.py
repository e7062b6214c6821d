from django.db import migrations, models


def count_copies(apps, schema_editor):  # noqa: ARG001
    apps.get_model("library", "Book").objects.filter(title__startswith="two ").update(copies=2)


class Migration(migrations.Migration):
    dependencies = [("library", "0001_initial")]  # noqa: RUF012
    operations = [  # noqa: RUF012
        migrations.AddField("book", "copies", models.PositiveIntegerField(default=1)),
        migrations.AlterField("author", "name", models.CharField(max_length=100, unique=True)),
        migrations.RunPython(count_copies, migrations.RunPython.noop),
    ]
