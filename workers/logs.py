"""How workers log: lines for people, or JSON objects for programs (FARMHAUL_LOG_FORMAT).

``tasks.log`` makes farmhaul's own lines; docs/troubleshooting.md lists the events. Celery's lines
about tasks become events too. No line shows a secret, not even the line of a library: errors of
libraries contain whole URLs, and a traceback shows the error that caused an error.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import redis
from billiard.exceptions import RestartFreqExceeded
from celery import current_task
from celery.app import trace
from celery.apps import worker as celery_worker
from celery.signals import (
    after_setup_logger,
    after_setup_task_logger,
    celeryd_after_setup,
    task_postrun,
    task_prerun,
)
from celery.utils.log import get_multiprocessing_logger
from kombu.exceptions import OperationalError

from tasks.config.redis_url import parse_redis_url
from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.log import log
from tasks.transfer.addresses import QUERY
from workers.wording import redis_problem

#: The events that Celery's lines become, by the template of the line.
CELERY_EVENTS = {
    trace.LOG_RECEIVED: "task_received",
    trace.LOG_SUCCESS: "task_succeeded",
    trace.LOG_FAILURE: "task_failed",
    trace.LOG_INTERNAL_ERROR: "task_failed",
    trace.LOG_REJECTED: "task_rejected",
    trace.LOG_IGNORED: "task_ignored",
    trace.LOG_RETRY: "task_retried",
}

#: Control characters in lines of libraries; Celery's own colours, tabs and line breaks stay.
UNPRINTABLE = re.compile(
    "(\x1b\\[[0-9;]*m)|[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: In characters. A shorter text may be part of any word, and is no secret.
SHORTEST_SECRET = 8

#: The stages of the tasks that this process runs, by task id: a thread that a task has started
#: cannot ask Celery for its task.
_running: dict[str, str] = {}


class JsonFormatter(logging.Formatter):
    """Formats each record as a line of JSON; the first keys are the same in all lines."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self.worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback is one of its fields."""
        task_id, stage = _task(record)
        # Added by tasks.log; the attributes of other libraries may mean anything.
        own = vars(record) if record.name == log.name else {}
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": own.get("event", CELERY_EVENTS.get(str(record.msg), "log")),
            "upload_id": "",
            "stage": stage,
            "worker": self.worker,
            "task_id": task_id,
            **own.get("fields", {}),
            "text": own.get("text", record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        shown = {name: value for name, value in fields.items() if value != ""}
        return json.dumps(shown, default=str)


class WithoutSecrets(logging.Formatter):
    """Replaces secrets and the queries of URLs with ``***`` in another formatter's lines.

    This is the last step before output, so nothing can bypass it.
    """

    def __init__(self, inner: logging.Formatter, settings: Settings) -> None:
        super().__init__()
        self.inner = inner
        forms = sorted(set(_secrets(settings)), key=len, reverse=True)
        self.hidden = re.compile("|".join([*map(re.escape, forms), QUERY.pattern]), QUERY.flags)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        record = _explained(record)
        return UNPRINTABLE.sub(_escaped, self.hidden.sub("***", self.inner.format(record)))


def _explained(record: logging.LogRecord) -> logging.LogRecord:
    """Let a line of Celery, kombu or billiard say what is wrong with Redis, not a traceback."""
    if record.name.partition(".")[0] not in {"celery", "kombu", get_multiprocessing_logger().name}:
        return record
    plain = copy.copy(record)
    if isinstance(record.args, tuple):
        plain.args = tuple(map(_named, record.args))
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, redis.RedisError | OperationalError | RestartFreqExceeded):
        plain.exc_info = plain.exc_text = None
    return plain


def _named(value: object) -> object:
    if isinstance(value, OperationalError):
        value = value.__cause__ or redis.ConnectionError(str(value))
    if isinstance(value, redis.RedisError):
        value = redis_problem(value)
    # It may be from another host or a server, and must not look like a line of its own.
    return value.replace("\r", "\\r").replace("\n", "\\n") if isinstance(value, str) else value


def _escaped(found: re.Match[str]) -> str:
    return found[1] or visible(found[0])


def _secrets(settings: Settings) -> Iterator[str]:
    """Yield all secrets of this node, also as JSON and URLs write them."""
    url = parse_redis_url(settings.redis_url)
    key = settings.ftrack.api_key if settings.ftrack else ""
    for secret in (*settings.secret_keys, key, url.password, url.sentinel_password):
        if len(secret) >= SHORTEST_SECRET:
            yield from (secret, json.dumps(secret)[1:-1], quote(secret, safe=""))


def _task(record: logging.LogRecord) -> tuple[str, str]:
    """Return the id and the stage of the task that a line is about; both are empty if none is."""
    data = getattr(record, "data", None)  # on Celery's lines about tasks
    if isinstance(data, dict) and "id" in data:
        return str(data["id"]), _stage(str(data.get("name", "")))
    if current_task and current_task.request.id:
        return str(current_task.request.id), _stage(str(current_task.name))
    # A process of the pool runs one task at a time.
    return next(iter(_running.items())) if len(_running) == 1 else ("", "")


def _stage(task_name: str) -> str:
    return task_name.rpartition(".")[2]


def set_up(worker: str, settings: Settings) -> None:
    """Let the worker of that name, and its pool, log in the configured format without secrets.

    Call this before Celery sets up its logging.
    """
    as_json = JsonFormatter(worker) if settings.log_format == "json" else None

    def replace_formatters(logger: logging.Logger, **_: Any) -> None:
        for target in (logger, get_multiprocessing_logger()):
            for handler in target.handlers:
                inner = as_json or handler.formatter or logging.Formatter()
                if not isinstance(inner, WithoutSecrets):
                    handler.setFormatter(WithoutSecrets(inner, settings))

    for signal in (after_setup_logger, after_setup_task_logger):
        signal.connect(replace_formatters, weak=False)
    # Celery warns of an error that it could not store, with the traceback as the text of the
    # warning, and then logs the same error as LOG_INTERNAL_ERROR.
    warnings.filterwarnings("ignore", "Exception raised outside body", RuntimeWarning)
    # Celery sets such a filter back for this one, so it is dropped where warnings become lines.
    logging.getLogger("py.warnings").addFilter(_is_for_people)
    if as_json:
        _set_up_json(as_json)
    else:
        _survive_full_disk()


def _is_for_people(record: logging.LogRecord) -> bool:
    """Leave out the eight lines with which Celery proposes a setting after each lost connection.

    That setting made tasks run twice, with Celery 5.7.
    """
    return "worker_cancel_long_running_tasks_on_connection_loss" not in record.getMessage()


def _survive_full_disk() -> None:
    """Drop what goes to a stdout that cannot be written: Celery's banner would end the worker.

    Log lines go to stderr, where an error of a handler ends nothing.
    """
    try:
        os.write(1, b"\n")
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _set_up_json(formatter: JsonFormatter) -> None:
    """Turn everything else that a worker prints into JSON."""
    # For lines before Celery sets up its logging, which replaces this handler.
    early = logging.StreamHandler()
    early.setFormatter(formatter)
    logging.getLogger().addHandler(early)
    logging.captureWarnings(capture=True)

    def hide_banner(instance: Any, **_: Any) -> None:
        instance.quiet = True

    def note_start(task_id: str, task: Any, **_: Any) -> None:
        _running[task_id] = _stage(str(task.name))

    def note_end(task_id: str, **_: Any) -> None:
        _running.pop(task_id, None)

    for signal, receiver in (
        (celeryd_after_setup, hide_banner),
        (task_prerun, note_start),
        (task_postrun, note_end),
    ):
        signal.connect(receiver, weak=False)
    # When a worker is asked to stop, its signal handler writes straight to stderr.
    say = celery_worker.safe_say

    def say_json(text: str, *arguments: Any) -> None:
        record = logging.LogRecord("celery.worker", logging.WARNING, "", 0, text, (), None)
        say(formatter.format(record), *arguments)

    celery_worker.safe_say = say_json
