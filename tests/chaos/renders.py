"""The hooks of a mix, and the files that they enqueue: rendered, and rendered again."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.transfer.targets import Target
from tests.farm import Farm

#: Sizes of files in a mix: most are small, like the frames of a farm; some take several seconds
#: under the bandwidth fault.
SIZES = (1, 4_000, 60_000, 200_000, 200_000, 1_000_000, 4_000_000, 12_000_000)
LARGE_BYTES = 70 << 20


@dataclass
class Render:
    """A file, and the component that it belongs to."""

    path: Path
    component_id: str
    options: tuple[str, ...]
    encode: bool = False
    #: Held while the file is written and enqueued, so that the last enqueue saw the last bytes.
    busy: threading.Lock = field(default_factory=threading.Lock)
    #: Its uploads, in the order in which they were enqueued.
    upload_ids: list[str] = field(default_factory=list)
    #: How often it was rendered again: each of its contents is encoded once at most.
    rewrites: int = 0

    @property
    def asked_for(self) -> bool:
        """Return whether a hook has queued or spooled it."""
        return bool(self.upload_ids)

    def manifest_line(self) -> dict[str, object]:
        """Return the render as a line of a manifest."""
        line: dict[str, object] = {"path": str(self.path)}
        for name, value in zip(self.options[::2], self.options[1::2], strict=True):
            line[name.removeprefix("--").replace("-", "_")] = value
        return {**line, "encode": True} if self.encode else line

    def arguments(self) -> list[str]:
        """Return the render as arguments of ``farmhaul enqueue``."""
        return [str(self.path), *self.options, *(["--encode"] if self.encode else [])]


class Hooks:
    """Runs ``farmhaul`` as the hooks of a farm manager do; one seed decides all."""

    def __init__(self, farm: Farm, seed: str, *, large: bool = False) -> None:
        self.farm = farm
        self.dice = random.Random(seed)
        self.large = large
        self.renders: list[Render] = []
        self.refusals: list[str] = []
        self.slowest_s = 0.0

    def make_renders(self, count: int) -> list[Render]:
        """Render new files: half for components that exist, half under the version."""
        return [self._make_render() for _ in range(count)]

    def _make_render(self) -> Render:
        number = len(self.renders)
        size = self.dice.choice(SIZES)
        if self.large and number % 60 == 30:
            size = LARGE_BYTES
        path = self.farm.make_file(f"beauty.{number:04d}.exr", self.dice.randbytes(size))
        ftrack = self.farm.sandbox.ftrack
        if self.dice.random() < 0.5:
            component_id = ftrack.add_component(path.name)
            render = Render(path, component_id, ("--component-id", component_id))
        else:
            name = f"beauty {number} {uuid.UUID(int=self.dice.getrandbits(128))}"
            target = Target.under_version(ftrack.version_id, name)
            options = ("--version-id", ftrack.version_id, "--name", name)
            render = Render(path, target.component_id, options, encode=number % 3 == 0)
        self.renders.append(render)
        return render

    def pick(self) -> Render | None:
        """Return a random render that was enqueued and is not being written."""
        known = [render for render in self.renders if render.asked_for and not render.busy.locked()]
        return self.dice.choice(known) if known else None

    def enqueue(self, render: Render) -> None:
        """Run one hook for one file."""
        self._run([render], ["enqueue", *render.arguments()])

    def enqueue_all(self, renders: Sequence[Render]) -> None:
        """Run one hook for many files, by a manifest."""
        lines = "".join(json.dumps(render.manifest_line()) + "\n" for render in renders)
        self._run(renders, ["enqueue", "--manifest", "-"], lines)

    def overtake(self, render: Render, seed: int) -> None:
        """Render a file again while a slow store receives it."""
        self.farm.sandbox.faults.add(
            "store",
            "latency_s",
            # Shorter than the lease: the bytes of a dead sender must have arrived when it ends.
            2.5,
            method="PUT",
            component_id=render.component_id,
            times=1,
        )
        self.rewrite(render, "renamed over", 100_000, seed)
        self.rewrite(render, "renamed over", 1000, seed + 1)

    def rewrite(self, render: Render, way: str, size: int, seed: int) -> None:
        """Render a file again, in one of the ways of renderers, and enqueue it."""
        content = random.Random(seed).randbytes(size)
        with render.busy:
            if way == "renamed over":
                temporary = render.path.with_suffix(".tmp")
                temporary.write_bytes(content)
                temporary.replace(render.path)
            else:
                with render.path.open("wb") as file:
                    for start in range(0, size, size // 4 + 1):
                        file.write(content[start : start + size // 4 + 1])
                        file.flush()
                        time.sleep(0.1)
            render.rewrites += 1
            self.enqueue(render)

    def _run(self, renders: Sequence[Render], command: list[str], stdin: str = "") -> None:
        began = time.monotonic()
        done = self.farm.cli(*command, stdin=stdin, timeout_s=120)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if done.returncode:
            self.refusals.append(f"{command[:2]} exited with {done.returncode}: {done.stderr}")
            return
        for render, line in zip(renders, done.stdout.splitlines(), strict=True):
            render.upload_ids.append(json.loads(line)["upload_id"])
