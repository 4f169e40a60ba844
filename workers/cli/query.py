"""The options by which ``status`` and ``watch`` find uploads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from tasks.config.path_map import mapped
from tasks.config.settings import Settings
from tasks.config.texts import visible
from tasks.intake.errors import BadInputError
from tasks.records.fetches import Fetches
from tasks.records.keys import to_text, upload_key
from tasks.records.query import Query, query_from, states_of
from tasks.records.scripts import Scripts
from tasks.records.search import ORDER, Hits, Search
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status
from tasks.records.typed import GLOB, is_path, is_start_of_id, time_of, word_of
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.targets import is_uuid
from workers.cli.records import find_known
from workers.wording import meant_states, not_taken_in

#: How many records of each state are read.
SAMPLE = 5
#: A shell that expands a glob makes a word of each file.
MOST_WORDS = 500


def query_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets ``version``, ``shot``, ``host``, ``since``, ``state``."""
    for option in (
        click.option(
            "--state", metavar="STATE", help="Only uploads in this state; or in these, with commas."
        ),
        click.option(
            "--since",
            metavar="TIME",
            help="What has moved since: 2h, yesterday, 22:00, or 2026-11-26T14:00 (local time).",
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
        BadInputError: a state is unknown, a time is none, an id is none, or something is empty.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _check(words, options)
    if not options and all(map(is_uuid, words)):
        return None
    states = states_of(options.pop("state", ""))
    if since := options.pop("since", None):
        options["since"] = time_of(f"--since {since}", since, now)
    shot = word_of(options.pop("shot", ""))
    typed = [_absolute(word) for word in words]
    path_map = Settings.from_environment().path_map
    query = query_from(typed, states, now=now, zone=None, path_map=path_map, **options)
    if is_path(shot) and not GLOB.search(shot):
        return replace(query, folder=mapped(shot, path_map))
    return replace(query, words=(*query.words, shot)) if shot else query


def _check(words: Sequence[str], options: Mapping[str, str]) -> None:
    named = {f"--{name}": value for name, value in options.items()}
    for name, value in (*named.items(), *(("a word", word) for word in words)):
        if not value.strip(", \t\n"):
            raise BadInputError(f"{name} is empty; name what to look for")
    for state in states_of(options.get("state", "")):
        if state not in ORDER:
            raise BadInputError(f"--state {state} is none of {', '.join(ORDER)}")
    version, host = options.get("version", ""), options.get("host", "")
    if version and not is_uuid(version):
        raise BadInputError(f"--version {version} is no id of a version")
    if GLOB.search(host):
        raise BadInputError(f"--host {host}: hosts are found by their whole name")
    if len(words) > MOST_WORDS:
        raise BadInputError(
            f"these are {len(words)} words: put a glob between quotation marks, or name a folder"
        )


def _absolute(word: str) -> str:
    """Return a path that is below this folder as one from the root."""
    is_below = word in {".", ".."} or word.startswith(("./", "../"))
    return os.path.abspath(word) if is_below else word


def with_whole_ids(scripts: Scripts, words: Sequence[str]) -> tuple[str, ...]:
    """Return the words with the whole id in place of one that is only its start."""
    found = zip(words, ids_meant(scripts, words), strict=True)
    return tuple(ids[0] if len(ids) == 1 else word for word, ids in found)


def ids_meant(scripts: Scripts, words: Sequence[str]) -> list[list[str]]:
    """Return for each word the ids that it is, or that it begins; uploads before downloads."""
    starts = {word: word_of(word).lower() for word in words}
    # A whole id may be the start of one, too, and needs no search.
    parts = {start for start in starts.values() if is_start_of_id(start) and not is_uuid(start)}
    found = Search(scripts.client, scripts.codec, scripts.hasher).beginning_with(parts)
    downloads = Fetches(scripts).beginning_with(start for start in parts if not found[start])

    return [
        [start] if is_uuid(start) else found.get(start) or downloads.get(start, [])
        for start in map(starts.__getitem__, words)
    ]


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
    found = {
        some_id: find(scripts, Query((some_id,))) for some_id, upload in read if upload is None
    }
    find_known(status, [some_id for some_id, hits in found.items() if not hits.ids])
    return found


def none_known(scripts: Scripts, words: Sequence[str], **asked: str | None) -> BadInputError:
    """Return what to say if nothing fits what was asked for."""
    options = [f"--{name} {value}" for name, value in asked.items() if value]
    all_of = "all words must fit, and " if len(words) > 1 else ""
    step = (
        f"{all_of}words are whole words of a path; farmhaul status --since 1h lists what has moved"
    )
    if any(query_from([word], now=0, zone=None).worker for word in words):
        step = "a worker finds the uploads that it processes now; its log has the others"
    step = meant_states(words) or step
    if _opens_none(scripts):  # nor does it find any
        step = (
            "this FARMHAUL_SECRET_KEY opens no record: set it as on the workers; "
            "farmhaul doctor says more"
        )
    what = " ".join(map(visible, (*words, *options)))
    waits = not_taken_in(Status(scripts.client, scripts.codec))
    return BadInputError(f"no upload {what} is known here{waits}; {step}")


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
