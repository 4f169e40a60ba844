"""The terms by which uploads are found: folders, words, names and versions, as keyed hashes.

Redis gets the hashes alone, so that the index of sealed records gives nothing away. Uploads that
have the same terms, such as the frames of a shot that come one by one, are a *group*: their terms
are written once. What a host or a user has asked for is a group of its own, without terms.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from tasks.intake.request import PublishRequest, Request, publish_from, target_from
from tasks.transfer.targets import Container, Target

#: Half of a UUID: enough, as what was found is compared with the query.
DIGITS = 16
#: The bounds of one group, for paths of a thousand folders and publishes of a thousand files.
MAX_FOLDERS, MAX_WORDS, MAX_FILES = 24, 32, 20
_WORD = re.compile(r"[^\W_]+")
#: A number at the end of a name, by itself or with four digits; v003 is a version.
_FRAME = re.compile(r"(?:(?<![^._\- ])|(?<![v\d])(?=\d{4}))\d+$")


class Term(NamedTuple):
    """What an upload is found by: a folder, word, file, version, name, host or user."""

    kind: str
    value: str


class Entry(NamedTuple):
    """What the index has about an upload: the hashes of its group, of who asked, and its terms."""

    group: str
    people: tuple[str, ...]
    terms: tuple[str, ...]


class Hasher:
    """Hashes terms with a key; without a secret key, the key is empty."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the keys of ``sealing.index_keys``: the first one writes, all of them are read."""
        self._keys = tuple(keys) or (b"",)
        # Requests of one shot come together.
        self._group = lru_cache(maxsize=1024)(self._hashed_group)
        self._person = lru_cache(maxsize=4096)(self._hashed_person)

    def __repr__(self) -> str:
        return f"Hasher({len(self._keys)} keys)"

    def hashes(self, term: Term) -> list[str]:
        """Return the hash of a term under each key."""
        return [_hash(key, term) for key in self._keys]

    def entry(self, request: Request) -> Entry:
        """Return what the index gets of a request."""
        return self._entry(_files_of(request), request.asked_host, request.asked_user)

    def entry_of_record(
        self, request: Mapping[str, Any], members: Iterable[Mapping[str, Any]]
    ) -> Entry:
        """Return the same for the request in a record, and for those of a publish's members.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: they are not requests.
        """
        path = str(request["path"])
        who = [str(request.get(name) or "") for name in ("asked_host", "asked_user")]
        if "publish" not in request:
            return self._entry([_file(path, target_from(request["target"]))], *who)
        containers = publish_from(request["publish"]).containers
        singles = ((str(one["path"]), target_from(one["target"])) for one in members)
        return self._entry(_files_of_publish(path, containers, singles), *who)

    def _entry(self, files: Iterable[_File], host: str, user: str) -> Entry:
        group, terms = self._group(tuple(files))
        who = {"host": host, "user": user}
        people = tuple(self._person(kind, name) for kind, name in who.items() if name)
        return Entry(group, people, terms)

    def _hashed_group(self, files: Sequence[_File]) -> tuple[str, tuple[str, ...]]:
        key = self._keys[0]
        terms = tuple(_hash(key, term) for term in _terms(files))
        return _hash(key, Term("group", "".join(terms))), terms

    def _hashed_person(self, kind: str, name: str) -> str:
        return _hash(self._keys[0], Term(kind, folded(name)))


def _hash(key: bytes, term: Term) -> str:
    text = f"{term.kind}\0{term.value}".encode(errors="surrogatepass")
    return hmac.digest(key, text, "sha256").hex()[:DIGITS]


class _File(NamedTuple):
    """What is known of a file or sequence; its path and its name without the frame number."""

    path: str
    version_id: str
    name: str


def _files_of(request: Request) -> Iterator[_File]:
    """Yield what people know: sequences, not their frames."""
    if not isinstance(request, PublishRequest):
        yield _file(request.path, request.target)
        return
    files = ((file.path, file.target) for file in request.files)
    yield from _files_of_publish(request.path, request.publish.containers, files)


def _files_of_publish(
    path: str, containers: Sequence[Container], files: Iterable[tuple[str, Target]]
) -> Iterator[_File]:
    for container in containers[:MAX_FILES]:
        yield _file(container.pattern or path, container.target)
    singles = (row for row in files if row[1].container_id is None)
    for row in islice(singles, MAX_FILES):
        yield _file(*row)
    if "/" not in path:  # the name of a publish
        yield _File(path, "", "")


def _file(path: str, target: Target) -> _File:
    folder, slash, name = folded(path).rpartition("/")
    path = f"{folder}{slash}{without_number(name)}"
    return _File(path, target.version_id or "", without_number(target.name or ""))


def _terms(files: Sequence[_File]) -> list[Term]:
    found: dict[Term, None] = {}
    for path, version_id, name in files:
        terms = [*folder_terms(path), Term("file", path.rpartition("/")[2])]
        terms += [Term("version", version_id)] if version_id else []
        terms += [Term("name", name)] if name else []
        words = dict.fromkeys(words_of(f"{path} {name}"))
        terms += [Term("word", word) for word in [*words][-MAX_WORDS:]]
        found.update(dict.fromkeys(terms))
    return [*found]


def folded(text: str) -> str:
    """Return a path or name as it is compared: without case, and in one Unicode form.

    People do not look at capitals, and an é is one character or two, as the program likes that has
    written it.
    """
    return unicodedata.normalize("NFC", text.casefold())


def folder_terms(path: str) -> list[Term]:
    """Return a term for each folder that a file is below, the outermost first."""
    parts = folded(path).split("/")[:-1]
    folders = ("/".join(parts[: count + 1]) for count in range(1, len(parts)))
    return [Term("folder", folder) for folder in [*folders][:MAX_FOLDERS]]


def file_term(path: str) -> Term:
    """Return the term of a file's name, without its frame number."""
    return Term("file", without_number(path.rpartition("/")[2]))


def without_number(name: str) -> str:
    """Return a name, folded, with # in place of a mark, or of what may be the number of a frame."""
    stem, dot, suffix = folded(name).replace("%d", "0").rpartition(".")
    if suffix.isdecimal():
        return f"{stem}{dot}#"
    return f"{_FRAME.sub('#', stem)}{dot}{suffix}"


def words_of(text: str) -> Iterable[str]:
    """Return the words of a path or a name. Numbers alone are none, because frames have them."""
    return (word for word in _WORD.findall(folded(text)) if not word.isdecimal())
