"""The project: settings, URLs, ASGI and Celery applications, and the processes they run in. Imports all, imported by none."""
