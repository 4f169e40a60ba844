"""The job of a rival, and how it reports its times."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Job:
    """Files to upload; file number n becomes the component ``{tag}.{n}`` of the version."""

    files: tuple[str, ...]
    tag: str
    server_url: str
    store_url: str
    api_user: str
    api_key: str
    version_id: str
    options: dict[str, str]

    @classmethod
    def from_command_line(cls) -> Job:
        fields = json.loads(sys.argv[1])
        return cls(**{**fields, "files": tuple(fields["files"])})

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def named(self) -> list[tuple[str, str]]:
        """The files, each with the name of its component."""
        return [(f"{self.tag}.{number}", path) for number, path in enumerate(self.files)]


def run(prepare: Callable[[Job], Callable[[], object]]) -> None:
    """Time a rival: ``prepare`` imports and logs in, and returns the function that uploads."""
    began = time.perf_counter()
    act = prepare(Job.from_command_line())
    ready, moment, cpu_s = time.perf_counter(), time.monotonic(), time.process_time()
    act()
    ended = time.perf_counter()
    figures = {
        "seconds": ended - ready,
        "start_s": ready - began,
        "cpu_s": time.process_time() - cpu_s,
        "began": moment,
    }
    print(json.dumps(figures))
