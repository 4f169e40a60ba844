"""What people look for: the query that they type, the terms that lead to it, and whether one fits.

The index (``tasks.records.terms``) answers most of a query by itself. What its hashes cannot tell,
such as the number of a frame, is compared with the request of each upload.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from tasks.intake.errors import BadInputError
from tasks.records.states import UPLOAD_STATES
from tasks.records.terms import Term, file_term, folded, without_number, words_of
from tasks.transfer.targets import is_uuid
from tasks.transfer.windows import is_windows_path

MAX_WORDS = 8
_WORDS = re.compile(r'"[^"]+"|\S+')
_GLOB = re.compile(r"[*?\[]")
_OPTIONS = {"version", "host", "worker", "name", "state", "user", "task", "error", "since"}
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: all of it must fit.

    ``words`` are words, paths, globs, names of files, hosts and components, or ids. ``since`` is
    when an upload moved last, in seconds since 1970. ``worker`` finds active uploads only, ``task``
    those of a chain, by the id of its first task; ``error`` is the kind of the last error.
    ``folder`` is a path as it is, not a glob: what is below it.
    """

    words: tuple[str, ...] = ()
    states: tuple[str, ...] = UPLOAD_STATES
    version: str = ""
    name: str = ""
    host: str = ""
    user: str = ""
    worker: str = ""
    task: str = ""
    error: str = ""
    since: float = 0.0
    folder: str = ""

    @property
    def is_listing(self) -> bool:
        """Whether only states and times are asked for, so that their indexes are enough."""
        people = (self.version, self.name, self.host, self.user)
        return not any((self.words, self.folder, *people, self.worker, self.task, self.error))


def parsed(text: str, states: Sequence[str] = (), *, now: float = 0.0, **options: Any) -> Query:
    """Return the query that a person has typed, such as ``sh020 host:node7 since:2h``.

    A path with spaces is between double quotes.

    Times without a zone are in UTC, as Flower shows them.

    Raises:
        BadInputError: a state is unknown, or a time is none.
    """
    words: list[str] = []
    for quoted in _WORDS.findall(text)[:MAX_WORDS]:
        word = quoted.strip('"')
        name, colon, value = word.partition(":")
        if colon and value and name in _OPTIONS:
            options[name] = time_of(word, value, now, UTC) if name == "since" else value
        elif re.fullmatch(r"[\w.-]+@[\w.-]+", word):
            options["worker"] = word
        else:
            words.append(word)
    wanted = [*filter(None, options.pop("state", "").split(","))]
    if unknown := {*wanted} - {*UPLOAD_STATES}:
        raise BadInputError(f"state:{min(unknown)} is none of {', '.join(UPLOAD_STATES)}")
    known = tuple(state for state in UPLOAD_STATES if state in (*states, *wanted))
    return Query(tuple(words), known or UPLOAD_STATES, **options)


def time_of(asked: str, text: str, now: float, zone: tzinfo | None = None) -> float:
    """Return a time that a person has written, in seconds since 1970; by default in local time.

    *asked* is what the error names.

    Raises:
        BadInputError: it is no time.
    """
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return now - int(match[1]) * _UNITS_S[match[2]]
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise BadInputError(f"{asked} is no time: write 2h, 3d, or 2026-11-26T14:00") from None


class Way(NamedTuple):
    """A way to meet a requirement: terms that all have to be there.

    If ``is_exact``, whatever has them meets it. Otherwise its request has to be compared.
    """

    terms: list[Term]
    is_exact: bool


class Requirement(NamedTuple):
    """A part of a query: the ways to meet it, and the host or user that it may be."""

    ways: list[Way]
    person: Term | None = None


def requirements_of(query: Query) -> Iterator[Requirement]:
    """Yield what the index has to know; nothing for a word that is in no index."""
    for word in query.words:
        ways = _ways_of(word)
        if ways:
            is_path = _is_path(word) or is_uuid(word)
            yield Requirement(ways, None if is_path else Term("host", word.casefold()))
    if query.version:
        yield Requirement([Way([Term("version", query.version.lower())], is_exact=True)])
    if query.folder:
        yield Requirement([Way([Term("folder", folded(query.folder))], is_exact=True)])
    if query.name:
        name = without_number(query.name)
        yield Requirement([Way([Term("name", name)], name == query.name.casefold())])
    if query.host:
        yield Requirement([], Term("host", query.host.casefold()))
    if query.user:
        yield Requirement([], Term("user", query.user.casefold()))


def is_in_index(query: Query) -> bool:
    """Return whether the index knows all that a query asks for, apart from numbers of frames."""
    return not query.error and all(map(_ways_of, query.words))


def _ways_of(word: str) -> list[Way]:
    if _is_path(word):
        return _ways_of_path(word.rstrip("/") or "/")
    if _GLOB.search(word):
        return []
    if is_uuid(word):
        return [Way([Term("version", word.lower())], is_exact=True)]
    words = [*words_of(word)]
    # Numbers alone are in no index: frames have them.
    if not words:
        return []
    name = without_number(word)
    is_whole = name == word.casefold()
    return [
        Way([Term("word", one) for one in words], words == [word.casefold()]),
        Way([file_term(word)], is_whole),
        Way([Term("name", name)], is_whole),
    ]


def _ways_of_path(path: str) -> list[Way]:
    glob = _GLOB.search(path)
    if not glob:
        folder = path.rpartition("/")[0]
        below = Way([Term("folder", folded(path))], is_exact=True)
        terms = [*([Term("folder", folded(folder))] if folder else []), file_term(path)]
        # The term of a folder is that of all files below it, at any depth.
        return [below, Way(terms, is_exact=False)]
    folder = path[: glob.start()].rpartition("/")[0]
    return [Way([Term("folder", folded(folder))], is_exact=False)] if folder else []


def _is_path(word: str) -> bool:
    return word.startswith("/") or is_windows_path(word)


def fits(query: Query, upload_id: str, error_kind: str, request: Mapping[str, Any]) -> bool:
    """Return whether an upload is what was asked for, as far as hashes cannot tell."""
    if query.error and error_kind.casefold() != query.error.casefold():
        return False
    if query.host and str(request.get("asked_host", "")).casefold() != query.host.casefold():
        return False
    if query.user and str(request.get("asked_user", "")).casefold() != query.user.casefold():
        return False
    texts = [*_texts(request)]
    if query.name and not any(_is_like(query.name.casefold(), text) for text in texts):
        return False
    return all(_has_word(word, upload_id, request, texts) for word in query.words)


def _texts(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a request says that people know, folded; a sequence by the path of its frames."""
    targets = [request.get("target", {})]
    yield str(request.get("path", "")).casefold()
    for container in request.get("publish", {}).get("containers", ()):
        targets.append(container.get("target", {}))
        yield str(container.get("pattern", "")).casefold()
    for target in targets:
        yield from (str(target.get(name) or "").casefold() for name in ("name", "version_id"))
        yield str(target.get("component_id") or "").casefold()
    yield str(request.get("asked_host", "")).casefold()


def _has_word(word: str, upload_id: str, request: Mapping[str, Any], texts: Sequence[str]) -> bool:
    wanted = word.casefold().rstrip("/") or "/"
    # The files of a publish are not in its request, but its terms were compared already.
    if wanted == upload_id or ("publish" in request and _ways_of(word) and not _GLOB.search(word)):
        return True
    if _is_path(word):
        return any(_is_below(wanted, text) for text in texts)
    return any(_is_like(wanted, text) for text in texts)


def _is_below(wanted: str, text: str) -> bool:
    if _GLOB.search(wanted):
        return fnmatch.fnmatchcase(text, wanted) or fnmatch.fnmatchcase(text, f"{wanted}/*")
    return text == wanted or text.startswith(f"{wanted}/") or _is_frame(wanted, text)


def _is_like(wanted: str, text: str) -> bool:
    if _GLOB.search(wanted):
        return fnmatch.fnmatchcase(text, f"*{wanted}*")
    return wanted in text or _is_frame(wanted, text.rpartition("/")[2])


def _is_frame(wanted: str, pattern: str) -> bool:
    """Return whether a name is one that a sequence's pattern, with %d for the number, gives."""
    head, mark, tail = pattern.partition("%d")
    middle = wanted[len(head) : len(wanted) - len(tail)]
    return bool(mark) and wanted == f"{head}{middle}{tail}" and middle.isdecimal()
