"""Sends notices to FARMHAUL_NOTIFY_URL: uploads that failed, publishes that became visible, nodes.

One worker of the farm sends, a batch every few seconds, in a thread that does nothing else. If the
receiver hangs, refuses or is away, notices wait in Redis; uploads go on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import redis
import requests

from tasks.config.sealing import message_codec, notice_keys
from tasks.config.settings import Settings
from tasks.log import log
from tasks.records.notices import Notice, Notices
from tasks.records.status import Status
from tasks.transfer.exchange import Exchange
from tasks.transfer.http import (
    body_of,
    is_outage,
    retry_after_s,
    status_of,
    without_secrets,
)
from tasks.transfer.put import store_session
from workers.self_check import KEY_IS_WRONG
from workers.steps.message import body_of_message, message_id, signed
from workers.steps.periodic import PeriodicStep

MOST_AT_ONCE = 100
#: How long a call may take in all.
CALL_S = 10.0
MAX_ANSWER_BYTES = 10_000
#: The pause after a call that failed; it doubles with each.
FIRST_PAUSE_S, MOST_PAUSE_S = 5.0, 300.0
#: The receiver does not want this message, however often it is sent; other refusals may end.
REFUSED = {400, 413, 422}
#: So often it is sent nevertheless: a chat may answer 400 while it is being set up.
MOST_REFUSALS = 5


class Notify(PeriodicStep):
    """Sends notices, if FARMHAUL_NOTIFY_URL is set and no other worker does."""

    interval_s = 5.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = bool(self.settings.notify_url)
        self.sender = Sender(self.settings, self.record.scripts.client, str(worker.hostname))

    def start(self, worker: Any) -> None:
        """Have notices noted before this worker takes its first task: the consumer starts last."""
        with suppress(redis.RedisError):  # then nothing can fail yet
            self.sender.notices.want()
        super().start(worker)

    def act(self) -> None:
        """Send what waits."""
        if not KEY_IS_WRONG.is_set():  # it cannot read them, and would sign with that key
            self.sender.run(time.monotonic())


class Sender:
    """Sends the notices of the farm in batches."""

    def __init__(self, settings: Settings, client: Any, name: str) -> None:
        self.url = settings.notify_url
        self.keys = notice_keys(settings.secret_keys)
        # The connections to the store check the address behind a name, and end what drips.
        self.session = store_session(1)
        codec = message_codec(settings)
        self.notices = Notices(client, codec, name)
        self.status = Status(client, codec)
        self._failures = self._refusals = 0
        self._again_at = 0.0
        #: The number of dropped notices that the receiver knows of; None until it is first read.
        self._told: int | None = None

    def run(self, now: float) -> None:
        """Send one batch, unless another worker sends, or the receiver needs a pause."""
        if not self.notices.may_send():
            return
        dropped = self.notices.dropped()
        if self._told is None:
            self._told = dropped
        notices = self.notices.first(MOST_AT_ONCE) if now >= self._again_at else []
        if notices:
            self._send(notices, dropped, now)

    def _send(self, notices: list[Notice], dropped: int, now: float) -> None:
        ids = [one.subject for one in notices if not one.event.startswith("node_")]
        uploads = {one.upload_id: one for one in self.status.find(ids) if one is not None}
        body = body_of_message(notices, uploads, dropped, dropped - (self._told or 0))
        raws = [notice.raw for notice in notices]
        why, pause_s = self._post(body, message_id(raws))
        if not why:
            self.notices.remove(raws)
            if self._failures:
                log.info("notices_back")
            self._failures = self._refusals = 0
            self._told = dropped
            return
        self._failures += 1
        if self._failures == 1:
            log.warning("notices_away", text=f"{why}; notices wait, uploads go on")
        backoff_s = min(FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10), MOST_PAUSE_S)
        self._again_at = now + max(backoff_s, min(pause_s, MOST_PAUSE_S))
        if self._refusals >= MOST_REFUSALS:
            self._refusals = 0
            self.notices.remove(raws, lost=True)
            log.error("notices_refused", count=len(raws), text=f"{why}; they are dropped")

    def _post(self, body: bytes, name: str) -> tuple[str, float]:
        """Post a body; return what is wrong, or "", and for how long to wait at least."""
        message = signed(body, name, int(time.time()), self.keys)
        try:
            with Exchange(CALL_S):
                response = self.session.post(
                    self.url,
                    data=message.body,
                    headers=message.headers,
                    timeout=CALL_S,
                    allow_redirects=False,
                    stream=True,
                )
                body_of(response, MAX_ANSWER_BYTES)
        except Exception as error:  # noqa: BLE001 whatever the receiver does; texts contain the URL
            return f"the receiver cannot be reached ({without_secrets(error)})", 0.0
        if response.ok and response.status_code < requests.codes.multiple_choices:
            return "", 0.0
        self._refusals += response.status_code in REFUSED
        pause_s = retry_after_s(response) if is_outage(response.status_code) else None
        return f"the receiver answers {status_of(response)}", pause_s or 0.0
