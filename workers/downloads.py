"""How downloads are sent to workers, by the command and by Flower."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import redis

from tasks.records.fetches import Fetches

if TYPE_CHECKING:
    from celery import Celery


@contextmanager
def sending() -> Iterator[None]:
    """Raise what kombu's errors mean while a message is sent.

    Raises:
        RedisError: Redis does not take it: it is not reachable, is full, or refuses our user.
    """
    from kombu.exceptions import OperationalError

    try:
        yield
    except OperationalError as error:
        known = isinstance(error.__cause__, redis.RedisError)
        raise (error.__cause__ if known else redis.ConnectionError(str(error))) from None


def send_fetch(
    app: Celery, fetches: Fetches, fetch_id: str, component_id: str, folder: str,
    *, who: str, **options: Any,
) -> None:  # fmt: skip
    """Record a download that somebody wants, and let a worker make it.

    ``options`` are Celery's, such as another connection than the application's.

    Raises:
        RedisError: Redis does not take it; the record says so, if Redis takes that.
    """
    asked_at = time.time()
    fetches.ask(fetch_id, component_id, folder, who, asked_at)
    # If this process dies here, the reconciler sends the message.
    try:
        send_message(app, fetch_id, component_id, folder, asked_at, **options)
    except redis.RedisError:
        with suppress(redis.RedisError):
            fetches.note(fetch_id, {"state": "failed"}, "Redis did not take its message")
        raise


def send_message(
    app: Celery, fetch_id: str, component_id: str, folder: str, asked_at: float, **options: Any
) -> None:
    """Send the message of a download that has a record.

    Raises:
        RedisError: Redis does not take it.
    """
    from tasks.chain import FETCH_PRIORITY, QUEUE

    with sending():
        app.send_task(
            "farmhaul.fetch_component",
            kwargs={"component_id": component_id, "folder": folder, "asked_at": asked_at},
            task_id=fetch_id,
            queue=QUEUE,
            priority=FETCH_PRIORITY,
            ignore_result=True,
            retry=False,
            # Shown in events instead of the arguments: messages are sealed, events not.
            kwargsrepr=f"({component_id})",
            **options,
        )
