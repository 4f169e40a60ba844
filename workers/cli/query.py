"""The options by which ``status`` and ``watch`` find uploads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from tasks.intake.errors import BadInputError
from tasks.records.keys import to_text, upload_key
from tasks.records.query import Query, parsed, time_of
from tasks.records.scripts import Scripts
from tasks.records.search import ORDER, Hits, Search
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.targets import is_uuid
from workers.cli.records import find_known

#: How many records of each state are read.
SAMPLE = 5


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets ``version``, ``shot``, ``host``, ``since``, ``state``."""
    for option in (
        click.option("--state", metavar="STATE", help="Only uploads in this state."),
        click.option(
            "--since",
            metavar="TIME",
            help="What has moved since: 2h, 3d, or 2026-11-26T14:00.",
        ),
        click.option("--host", metavar="HOST", help="Uploads that a hook on this host asked for."),
        click.option("--shot", metavar="PATH", help="Uploads of files below this folder."),
        click.option("--version", metavar="UUID", help="Uploads into this version."),
    ):
        command = option(command)
    return command


def query_of(words: Sequence[str], now: float, **given: str | None) -> Query | None:
    """Return what is looked for; None if nothing is given but ids.

    Raises:
        BadInputError: a state is unknown, or a time is none.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value}
    if not options and all(map(is_uuid, words)):
        return None
    states: tuple[str, ...] = ()
    if state := options.pop("state", None):
        if state not in ORDER:
            raise BadInputError(f"--state {state} is none of {', '.join(ORDER)}")
        states = (state,)
    if since := options.pop("since", None):
        options["since"] = time_of(f"--since {since}", since, now)
    shot = options.pop("shot", None)
    # A path may have spaces, so the words are not parsed again.
    texts = (*words, *([shot] if shot else []))
    return replace(parsed("", states, **options), words=texts)


def find(scripts: Scripts, query: Query) -> Hits:
    """Return what fits."""
    return Search(scripts.client, scripts.codec, scripts.hasher).find(query)


def not_uploads(scripts: Scripts, ids: Sequence[str]) -> dict[str, Hits]:
    """Return those of the ids that are of versions or components, with their uploads.

    Raises:
        BadInputError: an id is of nothing that has a record.
    """
    status = Status(scripts.client, scripts.codec)
    read = zip(ids, status.find(ids), strict=True)
    found = {one: find(scripts, Query((one,))) for one, upload in read if upload is None}
    find_known(status, [one for one, hits in found.items() if not hits.ids])
    return found


def none_known(scripts: Scripts, words: Sequence[str]) -> BadInputError:
    """Return what to say if nothing fits what was asked for."""
    step = "words are whole words of a path; farmhaul status --since 1h lists what has moved"
    if _opens_none(scripts):  # nor does it find any
        step = "this FARMHAUL_SECRET_KEY opens no record: set it as on the workers"
    return BadInputError(f"no upload {' '.join(words)} is known here; {step}")


def _opens_none(scripts: Scripts) -> bool:
    """Return whether there are records, and this node's key opens none of some."""
    pipeline = scripts.client.pipeline(transaction=False)
    for upload_id in Status(scripts.client, scripts.codec).ids_in(UPLOAD_STATES, limit=SAMPLE):
        pipeline.hget(upload_key(upload_id), "request")
    opened = []
    for request in filter(None, pipeline.execute()):
        try:
            opened.append(bool(scripts.codec.decode(to_text(request))))
        except SealBrokenError:
            opened.append(False)
    return bool(opened) and not any(opened)
