"""The programs of a farm node: the Celery application, and the command ``farmhaul``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> Celery:
    # ``celery -A workers`` looks for this. It is imported late, because the command ``farmhaul``
    # is in this package too, and a hook starts it for every frame.
    if name != "celery":
        raise AttributeError(name)
    from workers.app import app

    return app
