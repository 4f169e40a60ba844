"""What a task may raise: nothing that only a log may hold."""

from __future__ import annotations

from typing import Any

import kombu.exceptions
import redis
from celery import Task
from celery.exceptions import TaskPredicate

from tasks.log import log
from tasks.transfer.errors import UnexpectedAnswerError, UploadError

#: Ours, what tells Celery to try again, and Redis': texts that hold no secret.
KNOWN = (UploadError, TaskPredicate, redis.RedisError, kombu.exceptions.OperationalError)


class RedactedTask(Task):
    """A task whose errors may be shown: they go into events and results, which Flower shows.

    Any other error may hold a signed URL. It is told by its kind; the log has the rest, and
    takes the secrets out (``workers.logs``).
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task."""
        try:
            return self.run(*args, **kwargs)
        except KNOWN:
            raise
        except Exception as error:
            stage = str(self.name).rpartition(".")[2]
            log.exception("unexpected_error", stage=stage)
            raise our_fault(stage, error) from None


def our_fault(stage: str, error: Exception) -> UnexpectedAnswerError:
    """Make of a fault of ours an error that may be shown."""
    return UnexpectedAnswerError("farmhaul", stage, f"{type(error).__name__}, see the log")
