"""What the site answers; each request is one transaction where it writes."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from notes.models import Author, Note


def notes(request: HttpRequest, author: str) -> JsonResponse:
    if request.method == "POST":
        with transaction.atomic():
            owner, _ = Author.objects.get_or_create(name=author)
            with transaction.atomic():
                Note.objects.bulk_create(
                    Note(author=owner, text=text) for text in request.GET["text"].split(",")
                )
    elif request.method == "DELETE":
        Author.objects.filter(name=author).delete()
    request.session["visits"] = request.session.get("visits", 0) + 1
    texts = Note.objects.filter(author__name=author).order_by("id").values_list("text", flat=True)
    return JsonResponse({"notes": list(texts), "visits": request.session["visits"]})


urlpatterns = [path("<author>/", notes)]
