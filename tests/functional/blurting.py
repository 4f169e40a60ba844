"""For a worker started with ``-I tests.functional.blurting``: failures that no server can cause.

The name of a file says how it fails, once: ``breaks`` and ``stops`` raise an error whose text
holds all secrets, in a step and in a task; ``dies`` kills its process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.stage.base import Stage
from tasks.stage.message import Message
from tasks.transfer import http, put
from tasks.transfer.models import Batch, Outcomes, Transfer

SECRETS = ("FTRACK_API_KEY", "FARMHAUL_SECRET_KEY", "FARMHAUL_REDIS_URL")


def _blurt(transfer: Transfer, where: str) -> RuntimeError:
    secrets = [os.environ[name] for name in SECRETS]
    url = _url_of(transfer)
    return RuntimeError(f"a bug {where}: {url} {secrets} {url.partition('?')[2]}")


def _url_of(transfer: Transfer) -> str:
    return transfer.signed.url if transfer.signed else "no URL"


def _first_time(transfer: Transfer, name: str) -> bool:
    path = Path(transfer.path)
    if path.stem != name or path.with_suffix(".done").exists():
        return False
    path.with_suffix(".done").touch()
    return True


def _send(really: Callable[..., str]) -> Callable[..., str]:
    def send(transfer: Transfer, *args: Any) -> str:
        if _first_time(transfer, "dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if _first_time(transfer, "breaks"):
            raise _blurt(transfer, "in a step") from OSError(_url_of(transfer))
        return really(transfer, *args)

    return send


def _hand_on(really: Callable[..., Message]) -> Callable[..., Message]:
    def hand_on(self: Stage, batch: Batch, outcomes: Outcomes, service: str = "") -> Message:
        for transfer in batch.transfers:
            if self.stage == "put_file" and _first_time(transfer, "stops"):
                raise _blurt(transfer, "in a task") from OSError(_url_of(transfer))
        return really(self, batch, outcomes, service)

    return hand_on


http.TIMEOUT_S = (30.0, 1.0)
put.send = _send(put.send)
Stage.hand_on = _hand_on(Stage.hand_on)  # type: ignore[method-assign]
