from django.contrib import admin
from django.urls import path

from library.views import titles

urlpatterns = [path("admin/", admin.site.urls), path("titles", titles)]
