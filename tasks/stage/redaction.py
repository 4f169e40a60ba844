"""Keep secrets out of the errors that tasks raise: Celery's results and events show them."""

from __future__ import annotations

from typing import Any

import kombu.exceptions
import redis
from celery import Task
from celery.exceptions import TaskPredicate

from tasks.log import log
from tasks.transfer.errors import OWN_CODE, UnexpectedAnswerError, UploadError

#: Errors whose texts contain no secret: farmhaul's own, Celery's for control flow, and Redis'.
KNOWN = (UploadError, TaskPredicate, redis.RedisError, kombu.exceptions.OperationalError)


class RedactedTask(Task):
    """A task that raises only errors that anybody may read: Flower shows events and results.

    Any other error may contain a presigned URL. The task raises only its kind instead. The log has
    the whole error, without the secrets (``workers.logs``).
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
            raise internal_error(stage, error) from None


def internal_error(stage: str, error: Exception) -> UnexpectedAnswerError:
    """Return an error that names the kind of an unexpected one, and nothing else of it."""
    return UnexpectedAnswerError(OWN_CODE, stage, f"{type(error).__name__}, see the log")
