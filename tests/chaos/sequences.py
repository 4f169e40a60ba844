"""Sequences in a mix: each must be in ftrack whole, with the newest bytes of each frame."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.transfer.targets import Target
from tests.chaos.invariants import md5_of, told
from tests.farm import Farm

FIRST = 1001
FRAME_BYTES = (4_000, 60_000, 200_000)


@dataclass
class RenderedSequence:
    """The frames of a folder, and the component of the version that they belong to."""

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
        """The component of the sequence; its id leads to the upload."""
        return self.target.component_id

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the component id and the file of each frame."""
        for frame in range(FIRST, FIRST + self.frames):
            yield Target.frame(self.target, str(frame)).component_id, self.path(frame)

    def path(self, frame: int) -> Path:
        """Return the file of a frame."""
        return self.folder / f"beauty.{frame}.exr"


class SequenceHooks:
    """Renders sequences, and some of their frames again; one seed decides all."""

    def __init__(self, farm: Farm, seed: str) -> None:
        self.farm = farm
        self.dice = random.Random(seed)
        self.sequences: list[RenderedSequence] = []
        self.refusals: list[str] = []

    def make(self) -> None:
        """Run one hook for a sequence that was just rendered."""
        number, frames = len(self.sequences), self.dice.randint(3, 30)
        folder = self.farm.make_file(f"beauty.{FIRST}.exr", b"first").parent
        version_id = self.farm.sandbox.ftrack.version_id
        sequence = RenderedSequence(folder, frames, version_id, f"sequence {number}")
        for _, path in sequence.files():
            path.write_bytes(self.dice.randbytes(self.dice.choice(FRAME_BYTES)))
        self.sequences.append(sequence)
        with sequence.busy:
            self._enqueue(sequence)

    def again(self) -> None:
        """Run one hook for a sequence after one of its frames was rendered again."""
        known = [
            sequence
            for sequence in self.sequences
            if sequence.upload_ids and not sequence.busy.locked()
        ]
        if not known:
            return
        sequence = self.dice.choice(known)
        frame = self.dice.randrange(FIRST, FIRST + sequence.frames)
        with sequence.busy:
            temporary = sequence.folder / "beauty.tmp"
            temporary.write_bytes(self.dice.randbytes(self.dice.choice(FRAME_BYTES)))
            temporary.replace(sequence.path(frame))
            self._enqueue(sequence)

    def _enqueue(self, sequence: RenderedSequence) -> None:
        named = ("--version-id", sequence.version_id, "--name", sequence.name)
        done = self.farm.cli("enqueue", f"{sequence.folder}/beauty.%04d.exr", *named, timeout_s=120)
        if done.returncode:
            self.refusals.append(f"a sequence exited with {done.returncode}: {done.stderr}")
        else:
            sequence.upload_ids.append(json.loads(done.stdout)["upload_id"])


def wrong_sequences(farm: Farm, sequences: Sequence[RenderedSequence]) -> Iterator[str]:
    """Yield a line for each sequence that is not in ftrack once, whole and up to date."""
    ftrack, store = farm.sandbox.ftrack, farm.sandbox.store
    places = Counter(row["component_id"] for row in ftrack.entities("ComponentLocation"))
    containers = Counter(row["id"] for row in ftrack.entities("SequenceComponent"))
    members = Counter(
        (row["id"], row["container_id"])
        for row in ftrack.entities("FileComponent")
        if row["container_id"]
    )
    for sequence in sequences:
        current = farm.redis.hget(f"farmhaul:component:{sequence.component_id}", "current")
        about = f"{sequence.name} ({sequence.folder.name}, upload {current})"
        if (fields := farm.record(str(current))).get("state") != "located":
            yield f"{about} is not located: {told(fields)}"
            continue
        if (containers[sequence.component_id], places[sequence.component_id]) != (1, 1):
            yield f"{about} is there {containers[sequence.component_id]} times"
        for component_id, path in sequence.files():
            if (members[component_id, sequence.component_id], places[component_id]) != (1, 1):
                yield f"{about} lacks {path.name}, or has it twice"
            elif store.md5(component_id) != md5_of(path):
                yield f"{about} has not the newest bytes of {path.name}"
