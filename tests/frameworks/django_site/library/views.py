from django.http import JsonResponse

from library.models import Book


def titles(request):  # noqa: ARG001
    return JsonResponse(list(Book.objects.order_by("id").values_list("title", flat=True)), safe=False)
