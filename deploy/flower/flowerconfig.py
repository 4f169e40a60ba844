"""Flower's settings: ``celery -A workers flower --conf=…/flowerconfig.py``.

The broker is the app's, from FARMHAUL_REDIS_URL or FARMHAUL_REDIS_URL_FILE. Flower reads
its own FLOWER_* variables first, then this file, then its command line: the last wins.

Who may look is "user:password", one a line in the file that FLOWER_BASIC_AUTH_FILE names,
or FLOWER_BASIC_AUTH with commas between; a login of Google, GitHub, GitLab or Okta goes by
Flower's own --auth. Without any of them Flower does not start, except on loopback when
FARMHAUL_FLOWER_OPEN=yes says that this is meant.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from tornado.options import options

#: "(beauty.1001.exr +49, 12.4 MB)" in place of a task's arguments; of the first stage, which
#: draws its files itself, "{'summary': 'beauty.1001.exr +49, 12.4 MB', …" in its result.
SUMMARY = re.compile(r"^\(([^()].*?)\)(?= |$)|\{'summary': ['\"](.*?)(?:['\"], '|\.\.\.|$)")


def _logins() -> list[str]:
    text = os.environ.get("FLOWER_BASIC_AUTH", "").replace(",", "\n")
    file = os.environ.get("FLOWER_BASIC_AUTH_FILE", "")
    if file and not text:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not text"
            raise SystemExit(f"FLOWER_BASIC_AUTH_FILE: cannot read {file}: {why}") from None
    # --basic_auth comes last, since everybody on the machine can read a command line. An
    # empty FLOWER_BASIC_AUTH arrives in the option as one empty login, which is none.
    lines = text.splitlines() or list(options.basic_auth or [])
    logins = [line.strip() for line in lines if line.strip()]
    for number, login in enumerate(logins, start=1):
        user, _, password = login.partition(":")
        # Flower compares with hmac.compare_digest, which takes no other str than ASCII.
        if not (user and password and login.isascii()):
            # The line itself may hold a password, so only its number is told.
            raise SystemExit(f"Flower's login {number} is not user:password in ASCII")
    return logins


def _require_authentication() -> None:
    if basic_auth or options.auth:
        return
    on_loopback = options.unix_socket or address in {"127.0.0.1", "::1", "localhost"}
    if os.environ.get("FARMHAUL_FLOWER_OPEN") == "yes" and on_loopback:
        return
    raise SystemExit(
        "Flower shows every upload to whoever can reach it, and no login is set: "
        "name a file of user:password lines in FLOWER_BASIC_AUTH_FILE; "
        "or, on loopback only, set FARMHAUL_FLOWER_OPEN=yes"
    )


def _state_file() -> str:
    path = Path(os.environ.get("FLOWER_DB", "/var/lib/farmhaul/flower"))
    # Flower itself would find out when it first saves, minutes later or as it ends.
    if not os.access(path.parent, os.W_OK):
        raise SystemExit(
            f"Flower cannot keep its state in {path.parent}: make that folder writable, "
            "or name a file elsewhere in FLOWER_DB"
        )
    return str(path)


def format_task(task: Any) -> Any:
    """Leave of arguments and result what the task carries: its first file, how many, MB.

    Second line of defence, for the pages alone: Flower's API shows what the events hold,
    and those are kept clean where tasks are sent.
    """
    shown = SUMMARY.search(f"{task.args or ''} {task.result or ''}")
    task.args = next((text for text in shown.groups() if text), "") if shown else ""
    task.kwargs = task.result = None
    return task


# Flower's default is all addresses.
address = options.address or "127.0.0.1"
basic_auth = _logins()
_require_authentication()

# Looking only: Flower could start any task and stop workers; `farmhaul retry`, `cancel` and
# `limit` know the records, and Flower does not. FLOWER_READ_ONLY=false for those who must.
read_only = os.environ.get("FLOWER_READ_ONLY", "true").strip().lower() not in {"false", "no", "0"}

# What was seen outlives a restart of Flower.
persistent = True
db = _state_file()
state_save_interval = 300_000  # ms; a killed Flower forgets at most five minutes
max_tasks = 50_000  # about a night: four tasks a batch, and a ring for each enqueue
purge_offline_workers = 3_600  # s; scaled workers come and go under names of their own

# "args" is the summary. No reason of a failure: a column does not wrap, the task's page does.
tasks_columns = "name,args,state,received,runtime,worker,uuid"
natural_time = True  # "3 minutes ago" is what somebody looking at night wants to read
