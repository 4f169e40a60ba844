"""What the pages read of the records, and the two things that they may write."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from tasks.chain import QUEUE, list_key
from tasks.config.environment import SettingsError
from tasks.config.redis_url import parse_redis_url
from tasks.config.sealing import UNREADABLE
from tasks.config.settings import Settings
from tasks.config.texts import read_text
from tasks.records import acts, history
from tasks.records.commands import Commands
from tasks.records.fail_fast import ANSWER_S, CONNECT_S, fail_fast_redis
from tasks.records.fetches import Fetches, FetchState
from tasks.records.inbox import Waiting, waiting
from tasks.records.keys import ALIVE, state_key, to_text, upload_key
from tasks.records.nodes import NodeFault, heard_lately
from tasks.records.numbers import LATEST_S, number
from tasks.records.query import Query, parsed
from tasks.records.refusals import Refused, of_requests
from tasks.records.scripts import Scripts, open_scripts
from tasks.records.search import Page, Search
from tasks.records.states import STAGES
from tasks.records.status import Backlog, Gate, Status, answers
from tasks.records.typed import is_start_of_id, word_of
from tasks.records.upload_state import UploadState
from tasks.transfer.targets import is_uuid
from workers.app import app
from workers.broker.address import celery_address
from workers.downloads import send_fetch
from workers.held_back import read_limits
from workers.web.summary import Summary, summary
from workers.wording import redis_full

OPERATOR_URL_FILE = "FLOWER_OPERATOR_REDIS_URL_FILE"
#: The files of a publish that its page shows.
FILES_SHOWN = 100
#: The latest failed uploads whose kinds of error the page of the farm counts.
FAILED_READ = 500


class Event(NamedTuple):
    """A line of an upload's timeline: when, what, and more about it; all for people."""

    at: float
    what: str
    more: str = ""


class One(NamedTuple):
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


class Node(NamedTuple):
    """A worker: whether it takes tasks, and what it cannot do that others can, if anything."""

    name: str
    version: str
    takes: bool
    fault: NodeFault | None


def _takes(fault: NodeFault | None) -> bool:
    return fault is None or fault.extent in {"some", "none"}


class Farm(NamedTuple):
    """The farm as its page shows it; ``history`` is that of ``tasks.records.history``.

    ``kinds`` counts the latest failed uploads by the kind of error.
    """

    now: float
    nodes: list[Node]
    gates: list[Gate]
    queues: list[tuple[str, int]]
    inbox: Waiting
    backlog: list[Backlog]
    limits: dict[str, str]
    history: list[dict[str, float]]
    kinds: list[tuple[str, int]]
    retrying: int = 0
    #: Why the latest of those that retry does.
    why: str = ""
    #: The requests of hooks that workers have refused, those of the most frequent reason first.
    refused: Sequence[Refused] = ()
    #: What is wrong with Redis itself; empty if nothing is.
    redis: str = ""

    @property
    def takers(self) -> int:
        """How many nodes take uploads."""
        return sum(node.takes and _takes(node.fault) for node in self.nodes)


class Records:
    """The records of the farm that Flower's environment names; connects when it is first used."""

    def __init__(self) -> None:
        #: The kinds of error of the uploads that the page of the farm has counted last.
        self._kinds: dict[tuple[str, float], Any] = {}

    @cached_property
    def scripts(self) -> Scripts:
        """The scripts, with one client for all threads."""
        settings = Settings.from_environment()
        return open_scripts(settings, fail_fast_redis(settings))

    @cached_property
    def _operator(self) -> Scripts:
        """The same, with the Redis user of operators: Flower's own may write no record."""
        if not os.environ.get(OPERATOR_URL_FILE):
            return self.scripts
        settings = self._operator_settings()
        return open_scripts(settings, fail_fast_redis(settings))

    def _operator_settings(self) -> Settings:
        file, settings = os.environ.get(OPERATOR_URL_FILE, ""), Settings.from_environment()
        if not file:
            return settings
        try:
            settings = replace(settings, redis_url=read_text(file).strip())
            parse_redis_url(settings.redis_url)
            return settings
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not a file with the URL of a Redis"
            raise SettingsError(f"{OPERATOR_URL_FILE}: {file}: {why}") from None

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

    def one(self, upload_id: str) -> One | None:
        """Return an upload; None if it has no record."""
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
        events = self._events(upload, fields)
        publishes = [*filter(None, fields.get("publish", "").split(","))]
        return One(upload, events, files, stored, publishes, fields.get("chain", ""), self.now)

    def _events(self, upload: UploadState, fields: dict[str, str]) -> list[Event]:
        who = " on ".join(filter(None, (upload.asked_user, upload.asked_host)))
        events = [Event(upload.created, "taken in by a worker")]
        if upload.asked:
            events.append(Event(upload.asked, "asked for", f"by {who}" if who else ""))
        for place, stage in enumerate(STAGES, start=1):
            if at := number(fields.get(f"at:{place}"), 0.0, LATEST_S):
                what = "claimed, and " if place == 1 else ""
                events.append(Event(at, f"{what}{stage} began"))
        events += [*self._tries(fields.get("log", ""))]
        by = [(act.at, act.what, f"by {act.who}") for act in upload.acts]
        if upload.state == acts.CANCELLED and by and by[-1][1] == acts.CANCELLED:
            # The record has moved just before the note was made.
            events.append(Event(upload.updated, *by.pop()[1:]))
        elif upload.state in {"failed", "cancelled", "superseded", "stored"}:
            events.append(Event(upload.updated, upload.state))
        events += [Event(*one) for one in by]
        if located := number(fields.get("located"), 0.0, LATEST_S):
            events.append(Event(located, "located", "ftrack shows it"))
        events.sort(key=lambda event: event.at)
        if upload.state == "retrying" and upload.due:
            events.append(Event(upload.due, "next try"))
        return events

    def _tries(self, log: str) -> list[Event]:
        # Anybody who can write to Redis can put anything there.
        with suppress(ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return [
                Event(
                    number(at, 0.0, LATEST_S),
                    f"{STAGES[int(stage) - 1]} failed on {node}",
                    f"{kind}: {self._unsealed(error)}",
                )
                for at, stage, node, kind, error in json.loads(log or "[]")
            ]
        return []

    def _unsealed(self, error: str) -> str:
        text = self.scripts.codec.unseal_text(str(error))
        return "(sealed with another key)" if text == UNREADABLE else text

    def farm(self) -> Farm:
        """Return what the page of the farm shows."""
        client: Any = self.scripts.client
        status, now = self.status, self.now
        alive = heard_lately(client, ALIVE)
        takes, faults = {*status.workers()}, {one.name: one for one in status.node_faults()}
        nodes = []
        for row in alive:
            version, _, name = row.partition(" ")
            nodes.append(Node(name, version, name in takes, faults.get(name)))
        queues = [(stage, int(client.llen(list_key(QUEUE, stage)))) for stage in STAGES]
        return Farm(
            now,
            sorted(nodes, key=lambda node: (node.fault is None, node.name)),
            status.gates(),
            queues,
            waiting(client),
            status.backlog(),
            read_limits(client),
            history.read(client),
            self._kinds_of_failures(),
            int(client.zcard(state_key("retrying"))),
            self._why_the_latest_retries(),
            self.refused(),
            *(" ".join(line) for line in redis_full(client).items()),
        )

    def refused(self) -> list[Refused]:
        """Return the requests of hooks that workers have refused, by host and reason."""
        return of_requests(self.scripts.client)

    def _why_the_latest_retries(self) -> str:
        found = self.status.find(self.status.ids_in(["retrying"], 1))
        return next((one.error for one in found if one is not None), "")

    def place_of(self, one: str) -> tuple[str, str] | None:
        """Return the name and the id of the page that is about an id; None if nothing has it."""
        if self.download(one):
            return "download", one
        page = self.search.page(Query((one,)), 0, 2)
        if page.uploads and (page.total > 1 or page.uploads[0].version_id == one):
            return "version", one
        return ("upload", page.uploads[0].upload_id) if page.uploads else None

    def download(self, fetch_id: str) -> tuple[FetchState, float] | None:
        """Return a download, and the time; None if it has no record."""
        found = Fetches(self.scripts).find([fetch_id]).get(fetch_id)
        return (found, self.now) if found else None

    def downloads(self, most: int) -> tuple[list[FetchState], float]:
        """Return the downloads that have moved last, and the time."""
        fetches = Fetches(self.scripts)
        return [*fetches.find(fetches.ids(most)).values()], self.now

    def fetch_again(self, fetch_id: str, login: str) -> str:
        """Let a worker make a download again, and return its state then."""
        fetches = Fetches(self._operator)
        fetch = fetches.find([fetch_id]).get(fetch_id)
        if fetch is None or not fetch.folder or fetch.state == "fetching":
            return fetch.state if fetch else "unknown"
        asked = (fetch_id, fetch.component_id, fetch.folder)
        with self._sender() as connection:
            who = f"{login} in Flower"
            send_fetch(app, fetches, *asked, who=who, connection=connection)
        return "queued"

    def cancel_fetch(self, fetch_id: str, login: str) -> str:
        """Cancel a download, and return its state then."""
        return Fetches(self._operator).cancel(fetch_id, f"{login} in Flower") or "unknown"

    def _sender(self) -> Any:
        """Return a connection of Celery's with the Redis user of operators."""
        settings = self._operator_settings()
        address = celery_address(parse_redis_url(settings.redis_url))
        options = {
            **address["broker_transport_options"],
            "socket_connect_timeout": CONNECT_S,
            "socket_timeout": ANSWER_S,
            "max_retries": 0,
        }
        ssl = address.get("broker_use_ssl")
        return app.connection_for_write(address["broker_url"], ssl=ssl, transport_options=options)

    def elsewhere(self, text: str) -> FetchState | int:
        """Return what no upload fits: the download of this id, or how much is in the inbox."""
        word, fetches = word_of(text).lower(), Fetches(self.scripts)
        ids = [word] if is_uuid(word) else []
        if is_start_of_id(word) and not ids:
            ids = fetches.beginning_with([word])[word]
        found = fetches.find(ids) if len(ids) == 1 else {}
        return next(iter(found.values()), None) or waiting(self.scripts.client).entries

    def _kinds_of_failures(self) -> list[tuple[str, int]]:
        client: Any = self.scripts.client
        # Each with when it has failed: it may have been retried, and have failed of something else.
        failed = client.zrange(state_key("failed"), 0, FAILED_READ - 1, desc=True, withscores=True)
        rows = [(to_text(upload_id), at) for upload_id, at in failed]
        # The page asks every few seconds: what is known is not read again.
        known = self._kinds
        new = [row for row in rows if row not in known]
        pipeline = client.pipeline(transaction=False)
        for upload_id, _ in new:
            pipeline.hget(upload_key(upload_id), "error_kind")
        read = known | dict(zip(new, answers(pipeline), strict=True))
        self._kinds = {row: read[row] for row in rows}
        kinds = (kind for kind in self._kinds.values() if isinstance(kind, bytes | str))
        return Counter(map(to_text, kinds)).most_common()

    def act(self, action: str, upload_id: str, login: str) -> str:
        """Retry or cancel an upload, and return its state then."""
        commands, who = Commands(self._operator), f"{login} in Flower"
        if action == "cancel":
            return commands.cancel(upload_id, who)
        # The reconciler sends the wake-up within a second, so no rights to send tasks are needed.
        return commands.retry(upload_id, who).state
