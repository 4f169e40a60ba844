"""Sequences in a mix: each is to be in ftrack as a whole, with the newest bytes of each frame."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.transfer.models import Target
from tests.chaos.invariants import md5_of, told
from tests.farm import Farm

FIRST = 1001
FRAME_BYTES = (4_000, 60_000, 200_000)


@dataclass
class RenderedSequence:
    """The frames of a folder, and the component of the version that they are to be."""

    folder: Path
    frames: int
    version_id: str
    name: str
    #: Held while a frame is written and enqueued.
    busy: threading.Lock = field(default_factory=threading.Lock)
    upload_ids: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The sequence itself."""
        return Target.under_version(self.version_id, self.name)

    @property
    def component_id(self) -> str:
        """The component of the sequence, whose id its upload is found by."""
        return self.target.component_id

    def files(self) -> Iterator[tuple[str, Path]]:
        """The component of each frame, and its file."""
        for frame in range(FIRST, FIRST + self.frames):
            yield Target.frame(self.target, str(frame)).component_id, self.path(frame)

    def path(self, frame: int) -> Path:
        """The file of a frame."""
        return self.folder / f"beauty.{frame}.exr"


class SequenceHooks:
    """Renders sequences, and some of their frames anew; all dice come from one seed."""

    def __init__(self, farm: Farm, seed: str) -> None:
        self.farm = farm
        self.dice = random.Random(seed)
        self.sequences: list[RenderedSequence] = []
        self.refusals: list[str] = []

    def make(self) -> None:
        """One hook for a sequence that was just rendered."""
        number, frames = len(self.sequences), self.dice.randint(3, 30)
        folder = self.farm.make_file(f"beauty.{FIRST}.exr", b"first").parent
        version_id = self.farm.sandbox.ftrack.version_id
        one = RenderedSequence(folder, frames, version_id, f"sequence {number}")
        for _, path in one.files():
            path.write_bytes(self.dice.randbytes(self.dice.choice(FRAME_BYTES)))
        self.sequences.append(one)
        with one.busy:
            self._enqueue(one)

    def again(self) -> None:
        """One hook for a sequence of which a frame was rendered anew."""
        known = [one for one in self.sequences if one.upload_ids and not one.busy.locked()]
        if not known:
            return
        one = self.dice.choice(known)
        frame = self.dice.randrange(FIRST, FIRST + one.frames)
        with one.busy:
            beside = one.folder / "beauty.tmp"
            beside.write_bytes(self.dice.randbytes(self.dice.choice(FRAME_BYTES)))
            beside.replace(one.path(frame))
            self._enqueue(one)

    def _enqueue(self, one: RenderedSequence) -> None:
        named = ("--version-id", one.version_id, "--name", one.name)
        done = self.farm.cli("enqueue", f"{one.folder}/beauty.%04d.exr", *named, timeout_s=120)
        if done.returncode:
            self.refusals.append(f"a sequence ended with {done.returncode}: {done.stderr}")
        else:
            one.upload_ids.append(json.loads(done.stdout)["upload_id"])


def wrong_sequences(farm: Farm, sequences: Sequence[RenderedSequence]) -> Iterator[str]:
    """Sequences that are not in ftrack exactly once, whole and with the newest bytes."""
    ftrack, store = farm.sandbox.ftrack, farm.sandbox.store
    places = Counter(one["component_id"] for one in ftrack.entities("ComponentLocation"))
    containers = Counter(one["id"] for one in ftrack.entities("SequenceComponent"))
    members = Counter(
        (one["id"], one["container_id"])
        for one in ftrack.entities("FileComponent")
        if one["container_id"]
    )
    for one in sequences:
        current = farm.redis.hget(f"farmhaul:component:{one.component_id}", "current")
        about = f"{one.name} ({one.folder.name}, upload {current})"
        if (fields := farm.record(str(current))).get("state") != "located":
            yield f"{about} is not located: {told(fields)}"
            continue
        if (containers[one.component_id], places[one.component_id]) != (1, 1):
            yield f"{about} is there {containers[one.component_id]} times"
        for component_id, path in one.files():
            if (members[component_id, one.component_id], places[component_id]) != (1, 1):
                yield f"{about} lacks {path.name}, or has it twice"
            elif store.md5(component_id) != md5_of(path):
                yield f"{about} has not the newest bytes of {path.name}"
