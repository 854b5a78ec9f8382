"""What gunicorn runs."""

import os

from django.core.wsgi import get_wsgi_application

from latenthash_web.bodies import whole_bodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "latenthash_web.settings")
application = whole_bodies(get_wsgi_application())
