"""For a worker started with ``-I tests.helpers.gone_module``: it cannot send, by an ImportError."""

from __future__ import annotations

from tasks.stage.put_batch import PutBatch


def _send_all(_: PutBatch) -> None:
    raise ModuleNotFoundError("No module named 'idna'")


PutBatch.send_all = _send_all  # type: ignore[assignment, method-assign]
