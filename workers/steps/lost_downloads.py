"""What the reconciler does for downloads: it starts those again that no message carries.

A download has a record before its message is sent, and the sender may die in between; a killed
Redis may also lose its last second. As for uploads, the record says what is still to be done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from celery import Celery
from kombu.transport.redis import Channel

from tasks.chain import FETCH_PRIORITY, QUEUE
from tasks.download import MAX_AGE_S
from tasks.intake.ranges import some_of
from tasks.log import log
from tasks.records.fetches import Fetches, FetchState
from tasks.records.refusals import last_messages
from tasks.records.scripts import Scripts
from workers.broker.root_id import root_id
from workers.downloads import send_message

#: How often downloads without a message are looked for. One that is missed twice has none: what a
#: worker takes is for a moment neither in the queue nor among what is not acknowledged.
SEARCH_S = 15.0
#: How long after a message that no worker took the next one is sent: this long, then twice as long,
#: and so on. A worker with another key refuses it each time.
AGAIN_S, LONGEST_S = 60.0, 600.0
MOST_DOUBLED = 10
#: No try of a download is later than this; somebody else may have written another time.
LATEST_DUE_S = 3600.0
#: A record that has moved since is not looked at: its message may be on its way.
SILENT_S = 10.0
#: How many messages are read at once.
MESSAGES = 500
#: How many records are read at one look, the oldest first: the reconciler has other work as well.
MOST_READ = 1000


class LostDownloads:
    """Finds downloads that are to be made, and that no message carries."""

    def __init__(self, app: Celery, scripts: Scripts) -> None:
        self._app = app
        self._fetches = Fetches(scripts)
        self._redis = scripts.client
        self._search_at = 0.0
        #: Those that have ended, with when they last moved: they are not read again.
        self._ended: dict[str, float] = {}
        #: What had no message at the last look: the download and the time in its message.
        self._missed: set[tuple[str, float]] = set()

    def start_again(self) -> None:
        """Send the message of each download that has had none for two looks."""
        if time.monotonic() < self._search_at:
            return
        self._search_at = time.monotonic() + SEARCH_S
        moved = self._fetches.moved(MAX_AGE_S, SILENT_S)
        unknown = [fetch_id for fetch_id, at in moved.items() if self._ended.get(fetch_id) != at]
        found = self._fetches.find(unknown[:MOST_READ])
        ended = {
            fetch_id: moved[fetch_id]
            for fetch_id in unknown[:MOST_READ]
            if fetch_id not in found or found[fetch_id].has_ended
        }
        unmoved = {k: at for k, at in self._ended.items() if moved.get(k) == at}
        self._ended = unmoved | ended
        now = float(self._redis.time()[0])
        # Without the key of the record, there is neither folder nor time.
        live = {
            (fetch_id, fetch.asked_at): fetch
            for fetch_id, fetch in found.items()
            if fetch_id not in ended and fetch.folder and not now < fetch.due <= now + LATEST_DUE_S
        }
        carried = set(self._in_messages()) if live else set[str]()
        missed = {key for key in live if key[0] not in carried}
        for key in sorted(missed & self._missed):
            self._start(live[key])
        self._missed = missed

    def _start(self, fetch: FetchState) -> None:
        fetch_id, times = fetch.fetch_id, fetch.lost + 1
        if time.time() - fetch.asked_at >= MAX_AGE_S:
            days = f"{MAX_AGE_S / 86400:.0f} days"
            self._fetches.note(fetch_id, {"state": "failed"}, f"no worker took it within {days}")
            return
        log.warning("download_lost", fetch_id=fetch_id, text="start again")
        often = f"{times} times" if times > 1 else "once"
        why = f"no worker has taken its message, which was sent again {often}"
        hosts = [host for host, at, _ in last_messages(self._redis) if at >= fetch.asked_at]
        if hosts:
            why += f"; {some_of(hosts)} refused messages: compare keys (farmhaul doctor)"
        delay_s = min(AGAIN_S * 2 ** min(fetch.lost, MOST_DOUBLED), LONGEST_S)
        self._fetches.note(fetch_id, {"lost": times}, why, delay_s)
        asked = (fetch_id, fetch.component_id, fetch.folder, fetch.asked_at)
        send_message(self._app, *asked)

    def _in_messages(self) -> Iterator[str]:
        """Yield the downloads that a queued or unacknowledged message carries."""
        key = f"{QUEUE}{Channel.sep}{FETCH_PRIORITY}"
        start = 0
        # New ones come in front of those that are read, so a message may be read twice, not missed.
        while messages := self._redis.lrange(key, start, start + MESSAGES - 1):
            yield from map(root_id, messages)
            start += MESSAGES
        for _, entry in self._redis.hscan_iter(Channel.unacked_key, count=100):
            yield root_id(entry, within=0)
