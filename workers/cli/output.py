"""The lines that commands print: readable text on a terminal, otherwise one JSON object a line."""

from __future__ import annotations

import functools
import json
import sys
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import click

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.intake.errors import BadInputError
from tasks.records.states import LIVE
from tasks.records.upload_state import UploadState
from workers import wording

#: The kind of error of an upload whose component holds other files (``lua/includes/places.lua``).
REFUSED = "PlaceTaken"

#: The columns of a terminal that a path keeps: a shot and a frame are within.
SHORTEST_PATH = 20

#: The forms of output: a table for people, the same as plain lines, or JSON lines.
FORMS = ("table", "lines", "json")


Command = Callable[..., Any]


def form_option(piped: str, *, read: str = "") -> Callable[[Command], Command]:
    """Return what adds ``--format`` and ``--json``; the command gets ``form``, one of FORMS.

    ``piped`` is the form if stdout is no terminal. ``read`` is the form if stderr is one then: a
    person has piped it into less or grep.
    """

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_form(*values: Any, chosen: str | None, as_json: bool, **named: Any) -> Any:
            if as_json and chosen not in {None, "json"}:
                raise BadInputError(f"--json is --format json, not {chosen}: leave one of them out")
            unseen = read if read and sys.stderr.isatty() else piped
            form = chosen or ("table" if sys.stdout.isatty() else unseen)
            return command(*values, form="json" if as_json else form, **named)

        into = f"{read} in a pipe that is typed there, " if read else ""
        what = f"table, lines or json; by default table on a terminal, {into}otherwise {piped}."
        kinds = click.Choice(FORMS)
        chosen = click.option("--format", "chosen", metavar="FORM", type=kinds, help=what)
        as_json = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
        return chosen(as_json(with_form))

    return add


def json_option(command: Command) -> Command:
    """Add the options of the form; the command gets ``human``: whether a person reads it."""

    @functools.wraps(command)
    def with_human(*values: Any, form: str, **named: Any) -> Any:
        return command(*values, human=form != "json", **named)

    return form_option("json")(with_human)


def state_only(upload_id: str, state: str, *, human: bool) -> str:
    """Return the line of a command that changes a state."""
    if human:
        return f"{upload_id} {state}"
    return json.dumps({"upload_id": upload_id, "state": state})


def show(*lines: str) -> None:
    """Print lines to stdout; a terminal gets no control character, and no line more than these.

    What a command prints may be of a file system, a server, another host, or somebody who can write
    to Redis. Errors go through ``say``.
    """
    click.echo("\n".join(map(visible, lines)))


def state_line(upload: UploadState, *, human: bool) -> str:
    """Return the line of ``status`` for an upload.

    In JSON, ``size`` (or null) and ``sent`` are in bytes, ``rate`` (or null) in bytes a second,
    ``left_s`` (or null) in seconds; ``created`` and ``updated`` are seconds since 1970 by Redis'
    clock.  ``due`` is when a retrying upload is tried again.
    ``acts`` are who has retried or cancelled it, and when.
    """
    if human:
        return _state_text(upload)
    files = {"files": upload.files, "stored": upload.stored} if upload.files else {}
    jobs = {"jobs": upload.job_ids, "job_state": upload.job_state} if upload.job_state else {}
    return json.dumps(
        {
            "upload_id": upload.upload_id,
            "component_id": upload.component_id,
            "path": upload.path,
            "size": upload.size_bytes,
            "state": upload.state,
            "stage": upload.stage,
            "sent": upload.sent_bytes,
            "rate": upload.bytes_s,
            "left_s": upload.left_s,
            "worker": upload.worker,
            "error": upload.error,
            "created": upload.created,
            "updated": upload.updated,
            "version_id": upload.version_id or None,
            "name": upload.name or None,
            "asked_host": upload.asked_host or None,
            "asked_user": upload.asked_user or None,
            "tries": upload.tries,
            "due": upload.due,
            "acts": [act._asdict() for act in upload.acts],
            **files,
            **jobs,
        }
    )


def _state_text(upload: UploadState) -> str:
    progress = f"in {upload.stage} on {upload.worker}" if upload.state == "active" else ""
    if upload.bytes_s is not None:
        progress += f", {_speed_text(upload)}"
    if upload.state == "retrying" and upload.due:
        progress = f"next try {wording.clock(upload.due)}"
    if upload.files and upload.state not in {"located", "pending", "active"}:
        progress = f"{upload.stored} of {upload.files} files stored"
    encoding = f"encoding {upload.job_state}" if upload.job_state else ""
    line = f"{upload.state:<10} {upload.upload_id}  {size(upload.size_bytes):>9}  {upload.path}"
    return visible("  ".join(text for text in (line, progress, encoding, upload.error) if text))


def short_line(upload: UploadState, width: int) -> str:
    """Return the line of an upload for a table: its path is shortened from the left.

    A narrow terminal gets no size, and a very narrow one the state and the path alone.
    """
    sent = f"{100 * upload.sent_bytes // upload.size_bytes:3} %" if upload.size_bytes else "     "
    columns = [f"{visible(upload.state):<10} ", f"{sent}  ", f"{size(upload.size_bytes):>9}  "]
    while len(columns) > 1 and width - sum(map(len, columns)) < SHORTEST_PATH:
        columns.pop()
    line = "".join(columns)
    return line + from_left(visible(upload.path), width - len(line))


def why_lines(upload: UploadState, now: float) -> list[str]:
    """Return why an upload in a table waits or has failed, since when, and how to see more.

    Of one that is on its way, returns where it is.
    """
    if upload.state == "active":
        speed = f", {_speed_text(upload)}" if upload.bytes_s is not None else ""
        return [f"{'':<11}{visible(f'in {upload.stage} on {upload.worker}{speed}')}"]
    if not upload.error or upload.state not in {"failed", *LIVE}:
        return []
    retries = upload.due and upload.state == "retrying"
    since = f"{wording.span(now - upload.created)} old: farmhaul status {upload.upload_id}"
    again = f"next try {wording.clock(upload.due or 0)}: " if retries else ""
    return [f"{'':<11}{visible(text)}" for text in (f"{again}{upload.error}", since)]


def from_left(path: str, width: int) -> str:
    """Return the end of a path, where shot and file are, for so many columns of a terminal."""
    left = max(width, SHORTEST_PATH)
    if cells(path) <= left:
        return path
    left -= 1
    end = ""
    for letter in reversed(path):
        left -= cells(letter)
        if left < 0:
            break
        end = letter + end
    return f"…{end}"


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes: some letters take two, or none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def details(upload: UploadState, now: float, waits: Mapping[str, str]) -> list[str]:
    """Return lines with all that is known of one upload, for ``status ID``.

    ``waits`` is what ``workers.held_back`` says of it.
    """
    at = {"taken in": upload.created, "moved": upload.updated, "next try": upload.due or 0}
    times = {
        name: f"{datetime.fromtimestamp(time_s).astimezone():%Y-%m-%d %H:%M:%S %Z}"
        for name, time_s in at.items()
        if time_s and (name != "next try" or upload.state == "retrying")
    }
    component = " ".join(filter(None, (upload.name, upload.component_id)))
    texts = {
        **waits,
        "sent": _speed_text(upload) if upload.state == "active" else "",
        "age": wording.span(now - upload.created),
        **times,
        "tries": str(upload.tries or ""),
        "node": upload.worker,
        "version": upload.version_id,
        "component": component if upload.is_component else "",
        "asked by": " on ".join(filter(None, (upload.asked_user, upload.asked_host))),
    }
    rows = [(name, text) for name, text in texts.items() if text]
    rows += [(act.what, f"{wording.span(now - act.at)} ago by {act.who}") for act in upload.acts]
    return [f"  {name:<9} {visible(text)}" for name, text in rows]


def _speed_text(upload: UploadState) -> str:
    return speed_text(upload.sent_bytes, upload.size_bytes, upload.bytes_s, upload.left_s)


def speed_text(
    done_bytes: int, size_bytes: int | None, bytes_s: float | None, left_s: float | None
) -> str:
    """Return how much is done, how fast, and how long the rest takes: 42 %, 5 MB/s, 40s left."""
    share = f"{min(100 * done_bytes // size_bytes, 100)} %" if size_bytes else ""
    left = f"{span(left_s)} left" if left_s else ""
    rate = f"{size(round(bytes_s))}/s" if bytes_s is not None else ""
    return ", ".join(text for text in (share, rate, left) if text)


def span(seconds: float) -> str:
    """Return the remaining time in at most five characters, or an empty text if there is none."""
    if seconds <= 0:
        return ""
    for unit, size_s in (("s", 1), ("m", 60), ("h", 3600)):
        if seconds < size_s * 100:
            return f"{seconds / size_s:.0f}{unit}"
    return ">99h"


def problem(upload: UploadState) -> str:
    """Return why an upload that was waited for is not in ftrack as requested."""
    if upload.state == "located" and upload.job_state == "failed":
        return "located, but ftrack could not encode it; see the job in ftrack"
    if upload.state == "located":
        return "located, but not encoded yet"
    if upload.state in LIVE:
        where = f" in {upload.stage} on {upload.worker}" if upload.state == "active" else ""
        return f"{upload.state}{where}: {upload.error or 'not finished yet'}"
    return f"{upload.state}: {upload.error}" if upload.error else upload.state


def not_retried(upload: UploadState) -> str:
    """Return why a retry leaves an upload as it is, and what to do."""
    if upload.state == "retrying":
        at = f" at {wording.clock(upload.due)}" if upload.due else ""
        return (
            f"{upload.upload_id} is tried again by itself{at}: to try it at once, cancel it, "
            "then retry it"
        )
    if upload.error_kind == REFUSED:
        return f"{upload.upload_id} was refused, so only another enqueue helps: {upload.error}"
    is_named = upload.state == "superseded" and upload.error
    why = upload.error if is_named else "its component has a newer upload"
    return (
        f"{upload.upload_id} is not retried: {why}; if you want its files there, enqueue them "
        "again (with --replace, if the newer ones are of another place)"
    )


def counts_line(counts: Mapping[str, int], in_inbox: int) -> str:
    """Return how many uploads are in each state; states without uploads are left out.

    ``in_inbox`` is the number of entries of hooks that no worker has taken in yet.
    """
    texts = [f"{count} {state}" for state, count in counts.items() if count]
    return ", ".join([*texts, *([f"{in_inbox} in the inbox"] if in_inbox else [])]) or "no uploads"
