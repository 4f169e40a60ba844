"""The programs of a farm node: the Celery application, and the command ``farmhaul``."""

from workers.app import app

__all__ = ["app"]
