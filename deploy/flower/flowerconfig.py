"""Flower's settings: ``celery -A workers flower --conf=…/flowerconfig.py``.

The broker is that of the app: FARMHAUL_REDIS_URL or FARMHAUL_REDIS_URL_FILE. Flower reads its
FLOWER_* variables first, then this file, then its command line. The last value wins.

Logins are lines of "user:password" in the file that FLOWER_BASIC_AUTH_FILE names, or the
comma-separated list FLOWER_BASIC_AUTH. For a login with Google, GitHub, GitLab or Okta, use
Flower's own --auth. Without a login Flower does not start. The exception is a Flower on loopback
with FARMHAUL_FLOWER_OPEN=yes.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flower.views import BaseHandler
from kombu.transport.redis import Channel
from tornado.options import options

from tasks.chain import FETCH_PRIORITY, PRIORITY_OF
from tasks.config.settings import Settings
from tasks.config.texts import NotTextError, read_text
from tasks.records.fail_fast import fail_fast_redis
from workers.web.install import install
from workers.web.protection import protect

#: "(beauty.1001.exr +49, 12.4 MB)" replaces the arguments of a task. The first stage claims its
#: files itself, so its result has the summary: "{'summary': 'beauty.1001.exr +49, 12.4 MB', …".
SUMMARY = re.compile(r"^\(([^()].*?)\)(?= |$)|\{'summary': ['\"](.*?)(?:['\"], '|\.\.\.|$)")

#: "49 retrying, 1 failed: beauty.1001.exr +49, 12.4 MB" is the result of a batch that ends here.
FATE = re.compile(r"\{'summary': ['\"](\d+ [a-z]+(?:, \d+ [a-z]+)*): ")
ENDED = re.compile("located|stored|failed|cancelled|superseded|lost")


def _logins() -> list[str]:
    text = os.environ.get("FLOWER_BASIC_AUTH", "").replace(",", "\n")
    file = os.environ.get("FLOWER_BASIC_AUTH_FILE", "")
    if file and not text:
        try:
            text = read_text(file)
        except (OSError, NotTextError) as error:
            why = getattr(error, "strerror", None) or error
            raise SystemExit(f"FLOWER_BASIC_AUTH_FILE: cannot read {file}: {why}") from None
    # --basic_auth comes last, because everybody on the machine can read a command line. An empty
    # FLOWER_BASIC_AUTH sets the option to one empty login, which is skipped.
    lines = text.splitlines() or list(options.basic_auth or [])
    logins = [line.strip() for line in lines if line.strip()]
    for number, login in enumerate(logins, start=1):
        user, _, password = login.partition(":")
        # Flower compares with hmac.compare_digest, which accepts only ASCII strings.
        if not (user and password and login.isascii()):
            # The line may contain a password, so the message gives only its number.
            raise SystemExit(f"Flower's login {number} is not user:password in ASCII")
    return logins


def _require_authentication() -> None:
    if basic_auth or options.auth:
        return
    on_loopback = options.unix_socket or address in {"127.0.0.1", "::1", "localhost"}
    if os.environ.get("FARMHAUL_FLOWER_OPEN") == "yes" and on_loopback:
        return
    raise SystemExit(
        "no login for Flower is set, so anyone who can reach it would see every upload; "
        "set FLOWER_BASIC_AUTH_FILE to a file of user:password lines, "
        "or, on loopback only, set FARMHAUL_FLOWER_OPEN=yes"
    )


def _state_file() -> str:
    path = Path(os.environ.get("FLOWER_DB", "/var/lib/farmhaul/flower"))
    # Flower itself would notice only when it first saves, minutes later or as it exits.
    if not os.access(path.parent, os.W_OK):
        raise SystemExit(
            f"Flower cannot save its state in {path.parent}: make that folder writable, "
            "or set FLOWER_DB to a file in another folder"
        )
    return str(path)


def format_task(task: Any) -> Any:
    """Replace arguments and result by a summary: the first file, the number of files, and MB.

    If no upload of the batch goes on, it says what became of them.

    This is a second line of defence, for Flower's pages only. Flower's API shows the events as
    they are, and the code that sends tasks keeps secrets out of those.
    """
    shown = SUMMARY.search(f"{task.args or ''} {task.result or ''}")
    fate = FATE.match(str(task.result or ""))
    task.args = next((text for text in shown.groups() if text), "") if shown else ""
    if fate and not task.args.startswith(fate[1]):
        task.args = f"{fate[1]}: {task.args}"
    if fate and task.state == "SUCCESS" and not ENDED.search(fate[1]):
        task.state = "WAITING"  # Celery's own word says that the task has run
    task.kwargs = task.result = None
    return task


class Queues:
    """Counts messages. Flower's own class does not know all forms of FARMHAUL_REDIS_URL."""

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return the number of messages in each queue, whatever their priority."""
        return await asyncio.to_thread(_count, list(names))


def _count(names: list[str]) -> list[dict[str, Any]]:
    priorities = [*PRIORITY_OF.values(), FETCH_PRIORITY]
    with fail_fast_redis(Settings.from_environment()) as client:
        pipeline = client.pipeline(transaction=False)
        for name in names:
            for priority in priorities:
                pipeline.llen(f"{name}{Channel.sep}{priority}" if priority else name)
        lengths = iter(pipeline.execute())
    return [{"name": name, "messages": sum(next(lengths) for _ in priorities)} for name in names]


def add_inbox() -> None:
    """Have the page Broker show what hooks have sent and no worker has taken in yet."""
    names_of_queues = BaseHandler.get_active_queue_names
    inbox = ["farmhaul:inbox", "farmhaul:taking"]
    BaseHandler.get_active_queue_names = lambda page: [*names_of_queues(page), *inbox]


BaseHandler.get_broker = lambda _: Queues()
add_inbox()
install()
protect()

# Flower's default is all addresses.
address = options.address or "127.0.0.1"
basic_auth = _logins()
_require_authentication()

# Read-only, because Flower could stop workers, and retry and cancel uploads. FLOWER_READ_ONLY=false
# permits it.
read_only = os.environ.get("FLOWER_READ_ONLY", "true").strip().lower() not in {"false", "no", "0"}

# The tasks that Flower has seen outlive its restart.
persistent = True
db = _state_file()
state_save_interval = 300_000  # ms; a killed Flower forgets at most five minutes
max_tasks = 50_000  # about a night: four tasks for each batch, a wake-up task for each enqueue
purge_offline_workers = 3_600  # s; each worker that a scaler starts has a new name

# "args" is the summary. The reason of a failure is on the task's page, because columns do not wrap.
tasks_columns = "name,args,state,received,runtime,worker,uuid"
natural_time = True  # "3 minutes ago" is easier to read than a time
