"""Settings, all from the environment; docs/web.md lists them.

What is not set is the safe choice: loopback names, a SQLite catalogue, no writes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured


def _text(name: str, default: str = "") -> str:
    return os.environ.get(f"LATENTHASH_{name}", default)


def _number(name: str, default: int) -> int:
    value = _text(name, str(default))
    if not value.isdecimal():
        raise ImproperlyConfigured(f"LATENTHASH_{name}={value!r} - give a whole number")
    return int(value)


def _words(name: str, default: str = "") -> list[str]:
    return [word for word in _text(name, default).replace(",", " ").split() if word]


if not _text("INDEX"):
    raise ImproperlyConfigured("LATENTHASH_INDEX is not set - give the folder of an index")
BASE = Path(__file__).resolve().parent.parent
REMOTE = "://" in _text("INDEX")  # milvus://host:port/collection, say
if REMOTE and not _text("DATA"):
    raise ImproperlyConfigured("LATENTHASH_DATA is not set - give a folder for all that is written")
INDEX = _text("INDEX") if REMOTE else Path(_text("INDEX")).resolve()
DATA = Path(_text("DATA", f"{INDEX}-web")).resolve()
ENGINE = _text("ENGINE", "auto")
CLIENT = Path(_text("CLIENT", str(BASE.parent / "client/dist")))

TOKEN = _text("TOKEN")  # for writes; without one there are none
READ_TOKEN = _text("READ_TOKEN")  # for everything, if set
MAX_BYTES = _number("MAX_BYTES", 20_000_000)
MAX_PIXELS = _number("MAX_PIXELS", 50_000_000)
MAX_JSON = 100_000  # bytes
MAX_TOP = _number("MAX_TOP", 1000)
RATE = _number("RATE", 60)  # costly requests a minute and address; 0: no limit
PROXIES = _words("PROXIES")  # addresses whose word on who asks is taken
UPLOADS_KEPT = _number("UPLOADS_KEPT", 500)
UPLOAD_SECONDS = 3600
FETCH = _text("FETCH", "1") != "0"
FETCH_NETWORKS = _words("FETCH_NETWORKS")  # private networks that may be fetched from
FETCH_SECONDS = 10
BATCH = max(1, _number("BATCH", 1))  # pictures that the network takes at once
BODY_SECONDS = _number("BODY_SECONDS", 30)
PRESIGN = _text("S3_PRESIGN") == "1"

SECRET_KEY = secrets.token_hex(32)  # nothing is signed with it
DEBUG = False
ALLOWED_HOSTS = _words("HOSTS", "localhost 127.0.0.1 [::1]")
ROOT_URLCONF = "latenthash_web.urls"
WSGI_APPLICATION = "latenthash_web.wsgi.application"
INSTALLED_APPS = ["django.contrib.staticfiles", "ninja", "catalogue"]
MIDDLEWARE = [
    "catalogue.middleware.headers",
    "catalogue.metrics.measured",
    "catalogue.middleware.refusals",
    "whitenoise.middleware.WhiteNoiseMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_ROOT = CLIENT if CLIENT.is_dir() else None
WHITENOISE_INDEX_FILE = True
WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/assets/.+-[\w-]{8,}\.\w+$"  # as Vite names them
APPEND_SLASH = False
USE_TZ = True
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_JSON
FILE_UPLOAD_HANDLERS = ["catalogue.uploads.BoundedMemoryHandler"]
DATA_UPLOAD_MAX_NUMBER_FILES = 1
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"django.request": {"level": "ERROR"}, "django.security": {"level": "ERROR"}},
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, object]
_MONGO = os.environ.get("MONGODB_URI")
if _MONGO:
    DATABASES = {
        "default": {
            "ENGINE": "django_mongodb_backend",
            "HOST": _MONGO,
            "NAME": _text("MONGODB_NAME", "latenthash"),
        }
    }
    DATABASE_ROUTERS = ["django_mongodb_backend.routers.MongoRouter"]
    DEFAULT_AUTO_FIELD = "django_mongodb_backend.fields.ObjectIdAutoField"
elif os.environ.get("DATABASE_URL"):
    DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=600)}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA / "catalogue.sqlite3",
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            },
        }
    }

# Where pictures lie: "images" those of the index, by name; "added" those that came later.
_BUCKET = _text("S3_BUCKET")


def _s3(prefix: str) -> dict[str, object]:
    options = {
        "bucket_name": _BUCKET,
        "location": prefix,
        "endpoint_url": _text("S3_ENDPOINT") or None,
        "querystring_auth": True,
        "file_overwrite": True,
    }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


STORAGES: dict[str, dict[str, object]] = {
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "added": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA / "added"},
    },
}
if _BUCKET:
    STORAGES["images"] = _s3(_text("S3_PREFIX"))
    STORAGES["added"] = _s3(_text("S3_ADDED_PREFIX", "added"))
