"""Authors and their notes."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)


class Note(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    text = models.TextField(default="")
    stars = models.PositiveIntegerField(default=0)
