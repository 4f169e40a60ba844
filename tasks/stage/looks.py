"""What is asked for again although ftrack shows it: whether the store still has the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.log import log
from tasks.stage.base import Stage
from tasks.stage.signer import signer
from tasks.transfer.errors import (
    FatalError,
    InterceptedError,
    UnexpectedAnswerError,
    UrlRefusedError,
)
from tasks.transfer.models import Batch, Outcomes, Transfer
from tasks.transfer.signed_get import has_bytes

#: Who is kept from looking, by a right or by a proxy, believes ftrack: the file has been shown.
BLIND = (FatalError, UrlRefusedError, UnexpectedAnswerError, InterceptedError)


def look_into_store(stage: Stage, batch: Batch, shown: Sequence[Transfer]) -> Outcomes:
    """Ask the store for those of the files, which ftrack shows, that are due for a look.

    Return these: what the store has lost is not stored. ftrack shows a file as long as it has its
    location. A client that removes one removes the bytes first, and may be stopped in between.
    ``looks.lua`` says which are due.
    """
    clients = stage.clients
    sign = signer(clients.settings.require_ftrack(), clients.store, clients.limits.api_call)

    def look(file: Transfer) -> Transfer:
        known = replace(file, doubted=False)
        if not file.stored or file.target.only_in or file.target.encode_only:
            return known
        try:
            if has_bytes(file, sign, clients.store):
                return known
        except BLIND as error:
            log.warning("look_failed", upload_id=file.upload_id, text=str(error))
            return known
        log.warning("bytes_gone", upload_id=file.upload_id, component_id=file.component_id)
        return replace(known, stored=False, is_confirmed=False)

    doubted = [file for file in shown if file.doubted]
    if not doubted:
        return {}
    with stage.heartbeat(batch):
        return stage.each(doubted, look)
