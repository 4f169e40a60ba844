"""What workers log, as lines for people or as JSON objects for programs (FARMHAUL_LOG_FORMAT).

Our lines are ``event key=value … text``; docs/state.md lists the events. Celery's own lines about
tasks become events too. No secret gets into a line, whoever wrote it: errors of libraries hold
whole URLs, and a traceback shows the error of an error.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

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

from tasks.config.settings import Settings

EVENT = re.compile(r"([a-z]+(?:_[a-z]+)+)\b")
FIELD = re.compile(r"\s+([a-z_]+)=(\S+)")
#: Names that say by themselves what they are ids of.
RENAMED = {"upload": "upload_id", "claim": "claim_id"}
CELERY_EVENTS = {
    trace.LOG_RECEIVED: "task_received",
    trace.LOG_SUCCESS: "task_succeeded",
    trace.LOG_FAILURE: "task_failed",
    trace.LOG_INTERNAL_ERROR: "task_failed",
    trace.LOG_REJECTED: "task_rejected",
    trace.LOG_IGNORED: "task_ignored",
    trace.LOG_RETRY: "task_retried",
}

#: The query of a URL, which holds its signature; after a path alone too, as urllib3 tells it.
QUERY = re.compile(r"(?:\?|\bX-Amz-)[\w.~%-]+=[^\s\"'<>\\)]*", re.IGNORECASE)
#: A shorter text may be part of any word, and is no secret.
LEAST_SECRET = 8

#: The tasks that this process runs: threads that a task has begun can not ask Celery for it.
_running: dict[str, str] = {}


class JsonFormatter(logging.Formatter):
    """Makes a line of JSON of each record, with the same first keys in all."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self.worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Give the line; a traceback is one of its fields."""
        text = record.getMessage()
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": CELERY_EVENTS.get(str(record.msg), "log"),
            "upload_id": "",
            "stage": "",
            "worker": self.worker,
            "task_id": "",
        }
        fields["task_id"], fields["stage"] = _task(record)
        if record.name == "farmhaul" and (event := EVENT.match(text)):
            fields["event"] = event[1]
            text = text[event.end() :]
            while found := FIELD.match(text):
                fields[RENAMED.get(found[1], found[1])] = found[2]
                text = text[found.end() :]
        fields["text"] = text.strip()
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in fields.items() if value != ""})


class WithoutSecrets(logging.Formatter):
    """Gives the lines of another formatter with ``***`` for secrets, and for queries of URLs."""

    def __init__(self, inner: logging.Formatter, settings: Settings) -> None:
        super().__init__()
        self.inner = inner
        forms = sorted(set(_secrets(settings)), key=len, reverse=True)
        self.hidden = re.compile("|".join([*map(re.escape, forms), QUERY.pattern]), QUERY.flags)

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        return self.hidden.sub("***", self.inner.format(record))


def _secrets(settings: Settings) -> Iterator[str]:
    """Give all secrets of this node, also as JSON and URLs write them."""
    password = urlsplit(settings.redis_url).password or ""
    key = settings.ftrack.api_key if settings.ftrack else ""
    for secret in (*settings.secret_keys, key, password, unquote(password)):
        if len(secret) >= LEAST_SECRET:
            yield from (secret, json.dumps(secret)[1:-1])


def _task(record: logging.LogRecord) -> tuple[str, str]:
    """Give the id and the stage of the task that a line is about, empty for none."""
    data = getattr(record, "data", None)  # Celery's lines about tasks bring it along
    if isinstance(data, dict) and "id" in data:
        return str(data["id"]), _stage(str(data.get("name", "")))
    if current_task and current_task.request.id:
        return str(current_task.request.id), _stage(str(current_task.name))
    # A process of the pool runs one task at a time.
    return next(iter(_running.items())) if len(_running) == 1 else ("", "")


def _stage(task_name: str) -> str:
    return task_name.rpartition(".")[2]


def set_up(worker: str, settings: Settings) -> None:
    """Have the worker of that name, and its pool, log as the settings say, without secrets.

    To be called before Celery sets up logs.
    """
    as_json = JsonFormatter(worker) if settings.log_format == "json" else None

    def use_ours(logger: logging.Logger, **_: Any) -> None:
        for one in (logger, get_multiprocessing_logger()):
            for handler in one.handlers:
                inner = as_json or handler.formatter or logging.Formatter()
                if not isinstance(inner, WithoutSecrets):
                    handler.setFormatter(WithoutSecrets(inner, settings))

    for signal in (after_setup_logger, after_setup_task_logger):
        signal.connect(use_ours, weak=False)
    if as_json:
        _set_up_json(as_json)


def _set_up_json(formatter: JsonFormatter) -> None:
    """Have all else be JSON too that a worker says."""
    # For what is said before Celery has set up logs, which replaces this handler.
    early = logging.StreamHandler()
    early.setFormatter(formatter)
    logging.getLogger().addHandler(early)
    logging.captureWarnings(capture=True)

    def no_banner(instance: Any, **_: Any) -> None:
        instance.quiet = True

    def begin(task_id: str, task: Any, **_: Any) -> None:
        _running[task_id] = _stage(str(task.name))

    def end(task_id: str, **_: Any) -> None:
        _running.pop(task_id, None)

    for signal, receiver in (
        (celeryd_after_setup, no_banner),
        (task_prerun, begin),
        (task_postrun, end),
    ):
        signal.connect(receiver, weak=False)
    # What a worker says as it is told to stop goes straight to stderr, out of a signal handler.
    say = celery_worker.safe_say

    def say_json(text: str, *arguments: Any) -> None:
        record = logging.LogRecord("celery.worker", logging.WARNING, "", 0, text, (), None)
        say(formatter.format(record), *arguments)

    celery_worker.safe_say = say_json
