"""What the pages read of the records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from tasks.config.settings import Settings
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.fetches import Fetches, FetchState
from tasks.records.inbox import waiting
from tasks.records.keys import to_text, upload_key
from tasks.records.query import Query, parsed
from tasks.records.refusals import Refused, of_requests
from tasks.records.scripts import Scripts, open_scripts
from tasks.records.search import Page, Search
from tasks.records.status import Status
from tasks.records.typed import is_start_of_id, word_of
from tasks.records.upload_state import UploadState
from tasks.transfer.targets import is_uuid
from workers.web.farm import Farm, FarmReader
from workers.web.summary import Summary, summary
from workers.web.timeline import Event, events_of

#: The files of a publish that its page shows.
FILES_SHOWN = 100


class UploadDetails(NamedTuple):
    """An upload with its timeline, its files, and its Celery chain.

    Of a publish, ``files`` are those that are not stored, and ``stored`` some of those that are.
    Of a member, ``publishes`` are those that it belongs to.
    """

    upload: UploadState
    events: list[Event]
    files: list[UploadState]
    stored: list[UploadState]
    publishes: list[str]
    chain: str
    now: float


class Records:
    """The records of the farm that Flower's environment names; connects when it is first used."""

    def __init__(self) -> None:
        self._farm = FarmReader()

    @cached_property
    def scripts(self) -> Scripts:
        """The scripts, with one client for all threads."""
        settings = Settings.from_environment()
        return open_scripts(settings, fail_fast_redis(settings))

    @cached_property
    def status(self) -> Status:
        """The records, for reading."""
        return Status(self.scripts.client, self.scripts.codec)

    @cached_property
    def search(self) -> Search:
        """The search index."""
        return Search(self.scripts.client, self.scripts.codec, self.scripts.hasher)

    @cached_property
    def path_map(self) -> Sequence[tuple[str, str]]:
        """How paths of other systems are written in records."""
        return Settings.from_environment().path_map

    @property
    def now(self) -> float:
        """The time of Redis' clock, in seconds since 1970."""
        seconds, micros = self.scripts.client.time()
        return float(seconds + micros / 1e6)

    def page(
        self, text: str, state: str, start: int, length: int, **options: str
    ) -> tuple[Page, Query, float]:
        """Return a page of what a person looks for, the query that it was read as, and the time.

        Raises:
            BadInputError: what was typed is no query.
        """
        now = self.now
        query = parsed(text, (state,), now=now, path_map=self.path_map, **options)
        return self.search.page(query, start, length), query, now

    def summary(self, text: str, state: str, by: str) -> tuple[Summary, float]:
        """Return what a person looks for, counted by folder or version, and the time.

        Raises:
            BadInputError: what was typed is no query.
        """
        now = self.now
        query = parsed(text, (state,), now=now, path_map=self.path_map)
        return summary(self.search, query, by), now

    def upload(self, upload_id: str) -> UploadDetails | None:
        """Return an upload and what its page shows of it; None if it has no record."""
        [upload] = self.status.find([upload_id])
        if upload is None:
            return None
        # Without a state, its record is no record.
        row = self.scripts.client.hgetall(upload_key(upload_id)) if upload.state else {}
        fields = {to_text(name): to_text(value) for name, value in row.items()}
        files, stored = [], []
        if upload.files:
            files = self.status.members_left(upload_id, FILES_SHOWN)
            stored = self.status.members_stored(upload_id, FILES_SHOWN - len(files))
        return UploadDetails(
            upload,
            events_of(upload, fields, self.scripts.codec),
            files,
            stored,
            publishes=[*filter(None, fields.get("publish", "").split(","))],
            chain=fields.get("chain", ""),
            now=self.now,
        )

    def farm(self) -> Farm:
        """Return what the page of the farm shows."""
        return self._farm.read(self.status, self.now)

    def refused(self) -> list[Refused]:
        """Return the requests of hooks that workers have refused, by host and reason."""
        return of_requests(self.scripts.client)

    def place_of(self, some_id: str) -> tuple[str, str] | None:
        """Return the name and the id of the page that is about an id; None if nothing has it."""
        if self.download(some_id):
            return "download", some_id
        page = self.search.page(Query((some_id,)), 0, 2)
        if page.uploads and (page.total > 1 or page.uploads[0].version_id == some_id):
            return "version", some_id
        return ("upload", page.uploads[0].upload_id) if page.uploads else None

    def download(self, fetch_id: str) -> tuple[FetchState, float] | None:
        """Return a download, and the time; None if it has no record."""
        found = Fetches(self.scripts).find([fetch_id]).get(fetch_id)
        return (found, self.now) if found else None

    def downloads(self, most: int) -> tuple[list[FetchState], float]:
        """Return the downloads that have moved last, and the time."""
        fetches = Fetches(self.scripts)
        return [*fetches.find(fetches.ids(most)).values()], self.now

    def elsewhere(self, text: str) -> FetchState | int:
        """Return what no upload fits: the download of this id, or how much is in the inbox."""
        word, fetches = word_of(text).lower(), Fetches(self.scripts)
        ids = [word] if is_uuid(word) else []
        if is_start_of_id(word) and not ids:
            ids = fetches.beginning_with([word])[word]
        found = fetches.find(ids) if len(ids) == 1 else {}
        return next(iter(found.values()), None) or waiting(self.scripts.client).entries
