"""Many records at once, on a real Redis, for pages and searches that must stay light.

They are written as on a farm: by ``Commands`` and ``Record``, through all stages. Only the bytes
are missing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import STAGES
from tasks.stage.outcomes import Settling
from tasks.transfer.models import Batch, FileIdentity, Outcomes, Transfer
from tasks.transfer.targets import Container, Publish, Target

#: How many frames a shot has here, and of a hundred frames how many are in each state.
FRAMES = 100
STATES = {"failed": 2, "retrying": 1, "pending": 3, "cancelled": 1}
SIZE, NODE = 168_000, "w1@node001"
ERROR = "the file /mnt/show is missing on 3 nodes: is it still being written? then: farmhaul retry"
#: How a stage that meets it ends. A retry is due in an hour, when all tests have ended.
_ERROR: dict[str, Any] = {"kind": "FileNotReadyError", "error": ERROR, "gate": "", "own": ""}
_RETRY = {"max_tries": 9, "patience_s": 86400, "delay_s": 3600, "cap_s": 3600, "jitter": 1}
PLANS = {
    "failed": _ERROR | {"final": True},
    "retrying": _ERROR | _RETRY | {"at_least_s": 3600},
}


def requests(number: int) -> Iterator[UploadRequest]:
    """Yield requests for the frames of shots, as hooks send them one by one."""
    for place in range(number):
        shot, frame = divmod(place, FRAMES)
        target = Target.under_version(str(uuid.UUID(int=shot + 1)), f"beauty.{1001 + frame}")
        path = f"{_folder(shot)}/{_name(shot)}.{1001 + frame}.exr"
        yield UploadRequest(path, target, SIZE, place, **_asked(shot, place))


def sequences(number: int, first_shot: int) -> Iterator[PublishRequest]:
    """Yield requests for sequences of FRAMES frames, as a hook sends one when a job has ended."""
    for shot in range(first_shot, first_shot + number):
        target = Target.under_version(str(uuid.UUID(int=shot + 1)), "beauty")
        pattern = f"{_folder(shot)}/{_name(shot)}.%d.exr"
        files = tuple(
            UploadRequest(
                pattern % (1001 + frame),
                Target.frame(target, str(1001 + frame)),
                SIZE,
                1,
                is_member=True,
            )
            for frame in range(FRAMES)
        )
        publish = Publish((Container(target, ".exr", 4, pattern),))
        path = f"{_folder(shot)}/{_name(shot)}.1001-{1000 + FRAMES}#.exr"
        yield PublishRequest(path, target.component_id, publish, files, **_asked(shot, shot))


def _folder(shot: int) -> str:
    return f"/mnt/show/sq{shot % 40:03}/sh{shot:04}/render/beauty"


def _name(shot: int) -> str:
    return f"sh{shot:04}_beauty_v{shot % 9 + 1:03}"


def _asked(shot: int, place: int) -> dict[str, Any]:
    user = ("ada", "ben", "cleo")[shot % 3]
    return {"asked_host": f"node{place % 300:03}", "asked_user": user, "asked_at": time.time()}


def fill(scripts: Scripts, number: int, publishes: int = 0) -> None:
    """Write the records of so many files, and of so many sequences after them.

    Most files are in ftrack, and all sequences. No worker takes what is pending.
    """
    commands, record, asked = Commands(scripts), Record(scripts), requests(number)
    pending: list[UploadRequest] = []
    place = 0
    while some := [*islice(asked, 2000)]:
        states = {one.upload_id: _state(place + n) for n, one in enumerate(some)}
        place += len(some)
        pending += [one for one in some if states[one.upload_id] == "pending"]
        commands.enqueue([one for one in some if states[one.upload_id] != "pending"])
        for upload_id, state in states.items():
            if state == "cancelled":
                commands.cancel(upload_id)
        _upload(record, states)
    for sequence in sequences(publishes, number // FRAMES):
        commands.enqueue([sequence])
        _upload(record, {})
    # At the end, because a delivery takes whatever is pending.
    commands.enqueue(pending)


def _state(place: int) -> str:
    share = place * 7 % 100
    for state, most in STATES.items():
        if share < most:
            return state
        share -= most
    return "located"


def _upload(record: Record, states: Mapping[str, str]) -> None:
    """Bring all that is pending through the stages; what has no state becomes located."""
    while True:
        claim = str(uuid.uuid4())
        for stage in STAGES:
            transfers = record.deliver(claim, stage, NODE).transfers
            if not transfers and stage == STAGES[0]:
                return
            _settle(record, stage, transfers, states)


def _settle(
    record: Record, stage: str, transfers: list[Transfer], states: Mapping[str, str]
) -> None:
    outcomes: Outcomes = {
        one.upload_id: _known(one, stage)
        for one in transfers
        if states.get(one.upload_id) not in PLANS
    }
    good = tuple(one for one in transfers if one.upload_id in outcomes)
    settlements = Settling(stage, NODE, record.form).settlements(Batch("", good), outcomes)
    settlements += [
        Settlement(one, "retrying", {}, PLANS[states[one.upload_id]])
        for one in transfers
        if one.upload_id not in outcomes
    ]
    record.settle(settlements, node=NODE)


def _known(transfer: Transfer, stage: str) -> Transfer:
    """Return what a stage finds out about a file."""
    if transfer.publish:
        return transfer
    if stage == "compute_checksum":
        identity = FileIdentity(SIZE, 1_795_000_000_000_000_000, 4_200_000, 64)
        return replace(transfer, identity=identity, checksum="1B2M2Y8AsgTpgAmY7PhCfg==")
    return replace(transfer, stored=True) if stage == "put_file" else transfer
