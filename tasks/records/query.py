"""What people look for: the query that they type, the terms that lead to it, and whether one fits.

The index (``tasks.records.terms``) answers most of a query by itself. What its hashes cannot tell,
such as the number of a frame, is compared with the request of each upload.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, NamedTuple

from tasks.config.path_map import mapped
from tasks.intake.errors import BadInputError
from tasks.records.states import UPLOAD_STATES
from tasks.records.terms import Term, file_term, folded, without_number, words_of
from tasks.records.typed import GLOB, is_path, is_start_of_id, time_of, word_of
from tasks.transfer.targets import is_uuid

MAX_WORDS = 8
_WORDS = re.compile(r'"[^"]+"|\S+')
_OPTIONS = {"version", "host", "worker", "name", "state", "user", "task", "error", "since"}


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: all of it must fit.

    ``words`` are words, paths, globs, names of files, hosts and components, or ids. ``paths`` are
    paths and globs of which one must fit. ``since`` is
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
    paths: tuple[str, ...] = ()

    @property
    def is_listing(self) -> bool:
        """Whether only states and times are asked for, so that their indexes are enough."""
        people = (self.version, self.name, self.host, self.user)
        asked = (self.words, self.paths, self.folder, *people, self.worker, self.task, self.error)
        return not any(asked)


def parsed(
    text: str,
    states: Sequence[str] = (),
    *,
    now: float = 0.0,
    path_map: Iterable[tuple[str, str]] = (),
    **options: Any,
) -> Query:
    """Return the query that a person has typed, such as ``sh020 host:node7 since:2h``.

    A path with spaces is between double quotes. Times without a zone are in UTC, as Flower shows
    them.

    Raises:
        BadInputError: a state is unknown, or a time is none.
    """
    words = _WORDS.findall(text)[:MAX_WORDS]
    return query_from(words, states, now=now, zone=UTC, path_map=path_map, **options)


def query_from(
    typed: Sequence[str],
    states: Sequence[str] = (),
    *,
    now: float,
    zone: tzinfo | None,
    path_map: Iterable[tuple[str, str]] = (),
    **options: Any,
) -> Query:
    """Return the query of words as a person has typed them.

    Args:
        typed: the words; ``name:value`` stands for the field of this name.
        states: the states to look in, if no word names one.
        now: the time, in seconds since 1970.
        zone: that of times without one; None for local time.
        path_map: how paths of other systems are written in records (``FARMHAUL_PATH_MAP``).
        options: fields of the query.

    Raises:
        BadInputError: a state is unknown, or a time is none.
    """
    words: list[str] = []
    paths: dict[str, None] = {}
    for word in filter(None, map(word_of, typed)):
        name, colon, value = word.partition(":")
        name = name.lower()
        if is_path(word):
            paths |= dict.fromkeys((word, mapped(word, path_map)))
        elif colon and value and name in _OPTIONS:
            options[name] = time_of(word, value, now, zone) if name == "since" else value
        elif re.fullmatch(r"[\w.-]+@[\w.-]+", word):
            options["worker"] = word
        else:
            words.append(word)
    wanted = states_of(options.pop("state", ""))
    if unknown := {*wanted} - {*UPLOAD_STATES}:
        raise BadInputError(f"state:{min(unknown)} is none of {', '.join(UPLOAD_STATES)}")
    known = tuple(state for state in UPLOAD_STATES if state in (*states, *wanted))
    return Query(tuple(words), known or UPLOAD_STATES, paths=tuple(paths), **options)


def states_of(text: str) -> tuple[str, ...]:
    """Return the states that a person has written, with commas between them."""
    return tuple(filter(None, (one.strip() for one in text.lower().split(","))))


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
            is_person = not (is_path(word) or is_uuid(word))
            yield Requirement(ways, Term("host", folded(word)) if is_person else None)
    if query.paths and all(found := [_ways_of(path) for path in query.paths]):
        yield Requirement([way for ways in found for way in ways])
    if query.version:
        yield Requirement([Way([Term("version", query.version.lower())], is_exact=True)])
    if query.folder:
        yield Requirement([Way([Term("folder", folded(query.folder))], is_exact=True)])
    if query.name:
        name = without_number(query.name)
        yield Requirement([Way([Term("name", name)], name == folded(query.name))])
    if query.host:
        yield Requirement([], Term("host", folded(query.host)))
    if query.user:
        yield Requirement([], Term("user", folded(query.user)))


def is_in_index(query: Query) -> bool:
    """Return whether the index knows all that a query asks for, apart from numbers of frames."""
    return not query.error and all(map(_ways_of, (*query.words, *query.paths)))


def _ways_of(word: str) -> list[Way]:
    if is_path(word):
        return _ways_of_path(word.rstrip("/") or "/")
    if GLOB.search(word):
        return []
    if is_uuid(word):
        return [Way([Term("version", word.lower())], is_exact=True)]
    words = [*words_of(word.replace("%d", ""))]
    # Numbers alone are in no index: frames have them.
    if not words:
        return []
    name = without_number(word)
    is_whole = name == folded(word)
    return [
        Way([Term("word", one) for one in words], words == [folded(word)]),
        Way([file_term(word)], is_whole),
        Way([Term("name", name)], is_whole),
    ]


def _ways_of_path(path: str) -> list[Way]:
    glob = GLOB.search(path)
    if not glob:
        folder = path.rpartition("/")[0]
        below = Way([Term("folder", folded(path))], is_exact=True)
        terms = [*([Term("folder", folded(folder))] if folder else []), file_term(path)]
        # The term of a folder is that of all files below it, at any depth.
        return [below, Way(terms, is_exact=False)]
    folder = path[: glob.start()].rpartition("/")[0]
    return [Way([Term("folder", folded(folder))], is_exact=False)] if folder else []


def fits(query: Query, upload_id: str, error_kind: str, request: Mapping[str, Any]) -> bool:
    """Return whether an upload is what was asked for, as far as hashes cannot tell."""
    if query.error and error_kind.casefold() != query.error.casefold():
        return False
    if query.host and folded(str(request.get("asked_host", ""))) != folded(query.host):
        return False
    if query.user and folded(str(request.get("asked_user", ""))) != folded(query.user):
        return False
    texts = [*_texts(request)]
    if query.name and not any(_is_like(folded(query.name), text) for text in texts):
        return False
    if query.paths and not any(_has_word(one, upload_id, request, texts) for one in query.paths):
        return False
    return all(_has_word(word, upload_id, request, texts) for word in query.words)


def _texts(request: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a request says that people know, folded; a sequence by the path of its frames."""
    targets = [request.get("target", {})]
    yield folded(str(request.get("path", "")))
    for container in request.get("publish", {}).get("containers", ()):
        targets.append(container.get("target", {}))
        yield folded(str(container.get("pattern", "")))
    for target in targets:
        yield from (folded(str(target.get(name) or "")) for name in ("name", "version_id"))
        yield str(target.get("component_id") or "").casefold()
    yield folded(str(request.get("asked_host", "")))


def _has_word(word: str, upload_id: str, request: Mapping[str, Any], texts: Sequence[str]) -> bool:
    wanted = folded(word).rstrip("/") or "/"
    if wanted == upload_id or (is_start_of_id(wanted) and upload_id.startswith(wanted)):
        return True
    # The files of a publish are not in its request, but its terms were compared already.
    if "publish" in request and _ways_of(word) and not GLOB.search(word):
        return True
    if is_path(word):
        return any(_is_below(wanted, text) for text in texts)
    # A name may have spaces; otherwise they are between words.
    parts = wanted.split()
    return any(_is_like(wanted, text) for text in texts) or (
        len(parts) > 1 and all(any(_is_like(part, text) for text in texts) for part in parts)
    )


def _is_below(wanted: str, text: str) -> bool:
    return (
        text == wanted
        or text.startswith(f"{wanted}/")
        or _is_frame(wanted, text)
        or _is_frame(text, wanted)
        or (bool(GLOB.search(wanted)) and _is_glob_of(wanted, text))
    )


def _is_like(wanted: str, text: str) -> bool:
    name = text.rpartition("/")[2]
    return (
        wanted in text
        or _is_frame(wanted, name)
        or _is_frame(name, wanted)
        or (bool(GLOB.search(wanted)) and fnmatch.fnmatchcase(text, f"*{wanted}*"))
    )


def _is_glob_of(glob: str, text: str) -> bool:
    return fnmatch.fnmatchcase(text, glob) or fnmatch.fnmatchcase(text, f"{glob}/*")


def _is_frame(wanted: str, pattern: str) -> bool:
    """Return whether a name is one that a sequence's pattern, with %d for the number, gives."""
    head, mark, tail = pattern.partition("%d")
    middle = wanted[len(head) : len(wanted) - len(tail)]
    return bool(mark) and wanted == f"{head}{middle}{tail}" and middle.isdecimal()
