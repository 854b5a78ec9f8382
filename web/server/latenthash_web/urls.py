"""Addresses: the API and the pictures, then the page for all the rest."""

from __future__ import annotations

from django.urls import path, re_path

from catalogue.api import api
from catalogue.page import page

handler404 = "catalogue.middleware.not_found"
handler400 = "catalogue.middleware.bad_request"
handler500 = "catalogue.middleware.server_error"

urlpatterns = [
    path("", page),
    path("", api.urls),
    re_path(r"^(?!api/|images/|thumbnails/|uploads/|static/)[^.]*$", page),
]
