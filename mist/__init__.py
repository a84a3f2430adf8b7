"""The project: settings, URLs, ASGI and Celery applications. Imports all, imported by none."""
