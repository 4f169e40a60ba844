"""``python -m tests.demo``: uploads from start to end; DEMO=keep keeps everything running.

The exit code is 0 if every file has arrived unchanged and nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from cryptography.fernet import Fernet

from tasks.records.states import STAGES
from tests.demo.checks import (
    arrivals,
    complaints,
    processes_of,
    table,
)
from tests.demo.flower import Flower
from tests.demo.interrupts import interrupts_delayed, raise_on_interrupts
from tests.demo.renders import Renders, render
from tests.farm import Farm, wait_until
from tests.sandbox import Sandbox
from tests.sandbox.process import NotReady

WORKERS = 2
#: So many frames are enqueued one by one, as they finish; the others by a manifest.
SINGLY = 2
TIMEOUT_S = 90
LOOK_EACH_S = 1.0


class DemoFailed(Exception):
    """The demo found something wrong; its text has a line for each fault."""


class Demo:
    """One run of the demo; ``begun`` is when it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun = time.monotonic()
        self.version_id = ""

    def run(self, *, keep: bool) -> None:
        """Run all steps.

        Raises:
            DemoFailed: a step found a fault; the steps after it do not run.
        """
        with ExitStack() as stack:
            self.say("Start ftrack (a stand-in), its media store (a real S3), Redis")
            with interrupts_delayed():
                sandbox = stack.enter_context(Sandbox.start(self.folder / "sandbox"))
            self.version_id = sandbox.ftrack.version_id
            farm = Farm(
                sandbox,
                self.folder,
                WORKERS,
                command="farmhaul",
                options=["--concurrency=2"],
                env={"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode()},
            )
            self.say(f"Start {WORKERS} workers and Flower; render 8 frames, a sheet, a movie")
            with interrupts_delayed():
                flower = stack.enter_context(Flower(self.folder, farm.env))
                stack.enter_context(farm)
            renders = render(sandbox.storage / "sh010" / "v003")
            flower.wait_ready()

            self.say("Enqueue, as the hooks of a farm do")
            uploads = self.enqueue(farm, renders)
            self.follow(farm, uploads)
            self.say("The hook of a frame fires again: nothing is sent twice")
            self.fire_again(farm, uploads[0])
            self.say("Read all of it back from the store, and ask ftrack")
            self.check(sandbox, uploads)
            self.check_flower(flower)
            if keep:
                self.keep(farm, flower, renders)

    def say(self, what: str) -> None:
        """Print the step that begins, with the time since the start."""
        print(f"\n[{time.monotonic() - self.begun:4.1f} s] {what}", flush=True)

    def enqueue(self, farm: Farm, renders: Renders) -> list[dict[str, Any]]:
        """Enqueue the renders, each in one of the possible ways; return the uploads."""
        add, version = farm.sandbox.ftrack.add_component, self.version_id
        manifest = self.folder / "frames.jsonl"
        entries = [{"path": str(path), "version_id": version} for path in renders.frames[SINGLY:]]
        manifest.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
        commands: list[list[str | Path]] = [
            ["--manifest", manifest],
            [renders.sheet, "--version-id", version, "--thumbnail"],
            [renders.movie, "--version-id", version, "--name", "main", "--encode"],
        ]
        for path in reversed(renders.frames[:SINGLY]):
            component_id = add(path.name, path.stat().st_size)
            commands.insert(0, [path, "--component-id", component_id])
        for command in commands:
            # Without the folder of the renders, which would hide the rest of the line.
            words = [word.name if isinstance(word, Path) else word for word in command]
            print(f"  $ farmhaul enqueue {shlex.join(words)}")
        # All at once, as frames finish on many nodes.
        with ThreadPoolExecutor(len(commands)) as pool:
            answers = list(pool.map(lambda command: farm.enqueue(*command), commands))
        return [upload for answer in answers for upload in answer]

    def follow(self, farm: Farm, uploads: list[dict[str, Any]]) -> None:
        """Print the progress of the uploads until all are located."""
        total_bytes = sum(upload["size"] for upload in uploads)
        end = time.monotonic() + TIMEOUT_S
        ids = [str(upload["upload_id"]) for upload in uploads]
        wait_until(lambda: all(farm.states(ids)))  # workers take them in
        while True:
            done = farm.cli("status", "--json", *ids)
            if done.returncode:
                raise DemoFailed(f"farmhaul status exited with {done.returncode}: {done.stderr}")
            now = [json.loads(line) for line in done.stdout.splitlines()]
            states = [upload["state"] for upload in now]
            sent_bytes = sum(
                upload["size"] if upload["state"] == "located" else upload["sent"] for upload in now
            )
            counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(sorted(states)))
            share = f"{sent_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB sent"
            print(f"  {time.monotonic() - self.begun:4.1f} s  {counts}; {share}", flush=True)
            if failed := [
                f"{upload['path']}: {upload['error']}"
                for upload in now
                if upload["state"] == "failed"
            ]:
                raise DemoFailed("\n".join(failed))
            if set(states) == {"located"}:
                return
            if time.monotonic() > end:
                raise DemoFailed(f"after {TIMEOUT_S} s not all uploads are located")
            time.sleep(LOOK_EACH_S)

    def fire_again(self, farm: Farm, upload: Mapping[str, Any]) -> None:
        """Enqueue an upload a second time."""
        name = Path(upload["path"]).name
        [again] = farm.enqueue(upload["path"], "--component-id", upload["component_id"], "--wait")
        print(f"  {name}: the same upload {again['upload_id']}, {again['state']}")
        if (again["upload_id"], again["state"]) != (upload["upload_id"], "located"):
            raise DemoFailed(f"{name} was enqueued again and became {again}")

    def check(self, sandbox: Sandbox, uploads: list[dict[str, Any]]) -> None:
        """Compare the stored files with the rendered ones."""
        rows = arrivals(sandbox, uploads)
        print("\n".join(f"  {line}" for line in table(rows)))
        faults = [fault for row in rows for fault in row.faults]
        *_, sheet, movie = (upload["component_id"] for upload in uploads)

        def is_thumbnail() -> bool:
            version = sandbox.ftrack.get("AssetVersion", self.version_id) or {}
            return bool(version.get("thumbnail_id") == sheet)

        # The encoding of the movie sets its own, and a worker sets the sheet again within seconds.
        wait_until(is_thumbnail, 60, lambda: "the sheet is not the thumbnail of the version")
        jobs = sandbox.ftrack.calls("encode_media")
        if len(jobs) != 1:
            faults.append(f"ftrack got {len(jobs)} requests to encode the movie, not one")
        if faults:
            raise DemoFailed("\n".join(faults))
        print(f"  In ftrack: {len(rows)} locations, one thumbnail, one reviewable ({movie})")
        print(f"  ftrack had {sandbox.ftrack.count_calls()} API calls for {len(rows)} files")

    def check_flower(self, flower: Flower) -> None:
        """Check that Flower shows the stages by their names."""
        wait_until(
            lambda: set(STAGES) <= set(flower.succeeded()),
            60,
            lambda: f"Flower shows {dict(flower.succeeded())} instead of {', '.join(STAGES)}",
        )
        seen = flower.succeeded()
        print(f"  Flower ({flower.url}) saw " + ", ".join(f"{seen[s]} {s}" for s in STAGES))

    def keep(self, farm: Farm, flower: Flower, renders: Renders) -> None:
        """Keep everything running until Ctrl-C."""
        environment = {**farm.env, "VERSION": self.version_id, "RENDERS": str(renders.folder)}
        self.say("Everything keeps running until Ctrl-C. Flower: " + flower.url)
        print("\nIn another terminal:\n")
        for name, value in environment.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
        print(
            "\n"
            'cp "$RENDERS/sh010_beauty_v003.1001.exr" "$RENDERS/mine.exr"\n'
            'farmhaul enqueue "$RENDERS/mine.exr" --version-id "$VERSION" --wait\n'
            "farmhaul status --all",
            flush=True,
        )
        try:
            signal.pause()
        except KeyboardInterrupt:
            self.say("Stopping")


def main() -> int:
    """Run the demo; print each fault on stderr, and return the exit code."""
    raise_on_interrupts()
    keep = os.environ.get("DEMO") == "keep"
    faults: list[str] = []
    code = 0
    with tempfile.TemporaryDirectory(prefix="farmhaul-demo-", ignore_cleanup_errors=True) as name:
        demo = Demo(Path(name).resolve())
        # SeaweedFS writes its logs into the folder for temporary files.
        os.environ["TMPDIR"] = str(demo.folder)
        try:
            demo.run(keep=keep)
        except KeyboardInterrupt:
            faults, code = ["interrupted"], 130
        except (DemoFailed, NotReady, AssertionError, OSError, TimeoutExpired) as error:
            faults, code = [*complaints(demo.folder), *str(error).splitlines()], 1
    left = [f"still running: {process}" for process in processes_of(demo.folder)]
    left += [f"{demo.folder} was not removed"] if demo.folder.exists() else []
    for fault in faults + left:
        print(f"demo: {fault}", file=sys.stderr)
    if faults or left:
        return code or 1
    demo.say("Done: no process and no file is left behind")
    if not keep:
        print("Next: run make demo DEMO=keep, look at Flower, and upload your own files.")
        print("README.md shows how a hook calls farmhaul; docs/cli.md describes all commands.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
