from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Changes for which Django makes tables of SQLite anew."""

    dependencies: ClassVar = [("notes", "0001_initial")]
    operations: ClassVar = [
        migrations.AlterField("author", "name", models.CharField(max_length=100, unique=True)),
        migrations.AlterField("note", "text", models.TextField(default="")),
        migrations.AddField("note", "stars", models.PositiveIntegerField(default=0)),
    ]
