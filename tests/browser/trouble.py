"""A farm in trouble, as records: what a new supervisor is asked about at ten in the evening."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records import keys
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.fetches import Fetches
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import STAGES
from tasks.transfer.targets import Container, Publish, Target
from tests.browser.nodes import keep_noting

#: Minutes ago.
STORE_DOWN_MIN, NODE_BAD_MIN, OLDEST_MIN = 12, 25, 40
REFUSED, GOOD = 3, "w1@node004"
MISSING = "the file {path} is missing on 3 nodes: is it still being written? then: farmhaul retry"
NO_SPACE = "the store refused the file: EntityTooLarge; ask its operators, then: farmhaul retry"
VERSIONS = {shot: str(uuid.UUID(int=shot)) for shot in (10, 20, 30, 40)}


def sequence(shot: int, what: str, frames: int, user: str, host: str) -> PublishRequest:
    """Return a request for a sequence of a shot."""
    target = Target.under_version(VERSIONS[shot], what)
    folder = f"/mnt/show/sh{shot:03}/{what}"
    name = f"sh{shot:03}_{what}_v003"
    container = Container(target, ".exr", 4, f"{folder}/{name}.%d.exr")
    files = tuple(
        UploadRequest(
            f"{folder}/{name}.{1001 + number}.exr",
            Target.frame(target, str(1001 + number)),
            8_000_000,
            1,
            is_member=True,
        )
        for number in range(frames)
    )
    path = f"{folder}/{name}.1001-{1000 + frames}#.exr"
    options: dict[str, Any] = {
        "asked_host": host,
        "asked_user": user,
        "asked_at": time.time() - 3600,
    }
    return PublishRequest(path, target.component_id, Publish((container,)), files, **options)


class Trouble:
    """Writes the records, on a Redis that has none."""

    def __init__(self, client: Any, scripts: Scripts) -> None:
        self.client = client
        self.commands = Commands(scripts)
        self.record = Record(scripts)
        self.now = time.time()
        self._nodes()
        self.located = self._sequence(sequence(10, "comp", 12, "ben", "node011"), stored=12)
        self.storing = self._sequence(sequence(20, "beauty", 48, "cleo", "node012"), stored=40)
        self.failed = self._sequence(sequence(30, "fx", 8, "ada", "node007"), stored=7)
        self._movie()
        self._acted_on()
        self._singles()
        self._outage()
        self._history()
        self.download = self._download(scripts)

    def _download(self, scripts: Scripts) -> str:
        fetches, fetch_id = Fetches(scripts), str(uuid.uuid4())
        asked = (fetch_id, str(uuid.uuid4()), "/mnt/show/sh010/plates")
        fetches.ask(*asked, who="ada on ws12", asked_at=self.now)
        fetches.take(*asked, GOOD)
        fields: dict[str, str | int] = {
            "state": "retrying",
            "files": 240,
            "fetched": 31,
            "received": 43_043_000,
        }
        fetches.note(fetch_id, {**fields, "size": 333_235_200}, "store is down: HTTP 503", 120)
        return fetch_id

    def _nodes(self) -> None:
        nodes = ["w1@node003", "w1@node004", "w1@node005"]
        keep_noting(self.client, nodes, nodes[:2])
        since = self.now - 60 * NODE_BAD_MIN
        note = {"since": since, "what": "files", "error": "/mnt/show is empty", "known": True}
        self.client.hset(keys.PAUSED, "w1@node003", json.dumps(note))

    def _deliver(self) -> list[Any]:
        """Claim what is pending on a good node, and return its transfers."""
        return self.record.deliver(str(uuid.uuid4()), STAGES[0], worker=GOOD).transfers

    def _settle(self, transfer: Any, outcome: Any, fields: Any = (), plan: Any = None) -> None:
        self.record.settle([Settlement(transfer, outcome, dict(fields), plan)], node=GOOD)

    def _sequence(self, request: PublishRequest, stored: int) -> str:
        self.commands.enqueue([request])
        stored_paths = {file.path for file in request.files[:stored]}
        seen = 0
        while seen < len(request.files):
            for transfer in self._deliver():
                seen += 1
                if transfer.path in stored_paths:
                    fields = {"size": 8_000_000, "file": "x", "stored": "x"}
                    self._settle(transfer, "stored", fields)
                else:
                    self._give_up(transfer, is_final="/fx/" in request.path)
        if stored == len(request.files):
            [publish] = self._deliver()
            self._settle(publish, "located")
        return request.upload_id

    def _give_up(self, transfer: Any, *, is_final: bool) -> None:
        error = MISSING.format(path=transfer.path)
        plan: dict[str, Any] = {"kind": "FileNotReadyError", "error": error, "gate": "", "own": ""}
        if is_final:
            plan["final"] = True
        else:
            plan |= {"max_tries": 9, "patience_s": 86400, "delay_s": 3600, "cap_s": 3600}
            plan |= {"jitter": 1, "at_least_s": 3600}
        self._settle(transfer, "retrying", plan=plan)

    def _movie(self) -> None:
        target = Target.under_version(VERSIONS[40], "review")
        path = "/mnt/show/sh040/review/sh040_review_v001.mov"
        options: dict[str, Any] = {
            "asked_host": "node012",
            "asked_user": "cleo",
            "asked_at": self.now - 300,
        }
        request = UploadRequest(path, target, 4_000_000_000, 1, **options)
        self.commands.enqueue([request])
        self._deliver()
        fields = {"stage": 3, "sent": 1_000_000_000, "rate": 50_000_000}
        self.client.hset(keys.upload_key(request.upload_id), mapping=fields)
        self.movie = request.upload_id

    def _acted_on(self) -> None:
        """Two uploads of sh010: one was retried and is in ftrack now, the other was cancelled."""
        for what, who in (("grade", "ada on ws12"), ("roto", "ben in Flower")):
            path = f"/mnt/show/sh010/{what}/sh010_{what}_v001.mov"
            target = Target.under_version(VERSIONS[10], what)
            request = UploadRequest(path, target, 9_000_000, 1, asked_host="ws12", asked_user="ada")
            self.commands.enqueue([request])
            if what == "roto":
                self.commands.cancel(request.upload_id, who)
                continue
            [transfer] = self._deliver()
            plan = {"kind": "StoreRefusedError", "error": NO_SPACE, "final": True}
            self._settle(transfer, "retrying", plan=plan | {"gate": "", "own": ""})
            self.commands.retry(request.upload_id, who)
            [transfer] = self._deliver()
            self._settle(transfer, "located")

    def _singles(self) -> None:
        """Uploads that the store has refused, and those that wait behind its outage."""
        for number in range(14):
            target = Target.under_version(VERSIONS[40], f"plate.{1001 + number}")
            path = f"/mnt/show/sh040/plate/sh040_plate_v001.{1001 + number}.exr"
            request = UploadRequest(
                path, target, 9_000_000, 1, asked_host="node007", asked_user="ada"
            )
            self.commands.enqueue([request])
            if number < REFUSED:
                [transfer] = self._deliver()
                plan = {"kind": "StoreRefusedError", "error": NO_SPACE, "final": True}
                self._settle(transfer, "retrying", plan=plan | {"gate": "", "own": ""})
        for upload_id, score in self.client.zrange(keys.PENDING, 0, -1, withscores=True):
            early = {upload_id: score - 60_000 * OLDEST_MIN}
            self.client.zadd(keys.PENDING, early)
            taken_in = {"created": self.now - 60 * OLDEST_MIN}
            self.client.hset(keys.upload_key(upload_id), mapping=taken_in)

    def _outage(self) -> None:
        since, until = self.now - 60 * STORE_DOWN_MIN, self.now + 600
        gate = {"since": since, "until": until, "closed": 3}
        self.client.hset(keys.gate_key("store"), mapping=gate)

    def _history(self) -> None:
        for minute in range(60):
            sample = {"at": self.now - 60 * (60 - minute), "stored_bytes": min(minute, 48) * 6e8}
            sample |= {"located": min(minute, 48) * 3, "failed": max(minute - 50, 0)}
            sample |= {"pending": 4 + max(minute - 48, 0), "retrying": 8}
            self.client.rpush(keys.HISTORY, json.dumps(sample))
