"""Hooks: the cold start of one, forty of them at once, and one file from its hook to ftrack."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from tests.bench.measure import Usage
from tests.bench.result import TIMES, Result, Target
from tests.bench.scenarios.side_by_side import OFFICIAL, Contestant, alternate, ratio, table
from tests.bench.stand import TIMEOUT_S, Stand
from tests.farm import BIN, wait_until
from tests.helpers.pyz import built_pyz
from tests.sandbox import seed
from tests.sandbox.process import CHECKOUT, python_module

EMPTY = "python -c pass"
ENQUEUE = "farmhaul enqueue"
FILE = "python farmhaul-hook.pyz enqueue"
SOURCES = "the same, without bytecode for this Python"
BARE = "bare Celery send_task"
MOMENTS = ("the hook exits", "first API call", "first byte at the store", "the file is located")


def run(stand: Stand, quick: bool) -> list[Result]:
    results = [_start(stand, 5 if quick else 31)]
    with stand.farm():
        if not quick:
            results.append(_storm(stand, 40, 5))
        results.append(_one_file(stand, 11 if quick else 31))
    return results


def _start(stand: Stand, runs: int) -> Result:
    """The cold start. No worker runs: it would take CPU time from the commands."""
    [path] = stand.files(1, 200_000, "cold")
    numbers = itertools.count()
    packed, sources = str(built_pyz()), _without_bytecode(stand.folder / "sources.pyz")
    commands: dict[str, Callable[[], Sequence[str]]] = {
        EMPTY: lambda: (sys.executable, "-c", "pass"),
        ENQUEUE: lambda: _enqueue(path, f"cold.{next(numbers)}"),
        FILE: lambda: _enqueue(path, f"cold.{next(numbers)}", sys.executable, packed),
        SOURCES: lambda: _enqueue(path, f"cold.{next(numbers)}", sys.executable, sources),
        BARE: lambda: python_module("tests.bench.rivals.bare_send"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            seconds[name].append(_timed(stand, command()))
    stand.redis.flush()
    empty = median(seconds[EMPTY])
    result = Result(
        "cold",
        "The cold start of a hook",
        "Wall-clock time of a whole process, including its start. No worker is running. "
        "farmhaul-hook.pyz contains bytecode for the Pythons of the machine that built it.",
        ("", "ms", "fastest to slowest", "against an empty Python"),
    )
    result.rows = [
        (
            name,
            f"{1000 * median(times):.1f}",
            f"{1000 * min(times):.1f} to {1000 * max(times):.1f}",
            f"{median(times) / empty:.2f}{TIMES}",
        )
        for name, times in seconds.items()
    ]
    # In pairs: each enqueue with the empty Python just before it.
    pairwise = median(a / b for a, b in zip(seconds[ENQUEUE], seconds[EMPTY], strict=True))
    result.targets = [Target("cold hook ÷ empty Python", pairwise, "<= 3", TIMES)]
    return result


def _without_bytecode(target: Path) -> str:
    """Copy farmhaul-hook.pyz as a Python sees it that the machine which built it does not have."""
    with zipfile.ZipFile(built_pyz()) as whole, zipfile.ZipFile(target, "w") as copy:
        for name in whole.namelist():
            if "bytecode-" not in name:
                copy.writestr(name, whole.read(name))
    return str(target)


def _storm(stand: Stand, count: int, runs: int) -> Result:
    files = stand.files(count, 200_000, "small")
    usages = alternate(
        [
            Contestant(ENQUEUE, lambda: _cold_hooks(stand, files), runs),
            Contestant(OFFICIAL, lambda: _cold_scripts(stand, files), runs),
        ]
    )
    result = table("hooks", f"{count} cold hooks, two at a time", usages, (count, "files/s"))
    result.about = (
        "A process for each file of 200 kB, near, as render managers start hooks. The seconds end "
        "when all files are located. Each script of the official client imports it, logs in and "
        "uploads its file."
    )
    name = "until located ÷ the official client's scripts"
    result.targets = [Target(name, ratio(usages, OFFICIAL, ENQUEUE), ">= 2", TIMES)]
    exits = median(usage.start_s for usage in usages[ENQUEUE])
    result.notes = [f"all {count} hooks have exited after {exits:.2f} s"]
    return result


def _cold_hooks(stand: Stand, files: Sequence[str]) -> Usage:
    tag = f"cold{time.monotonic_ns()}"
    commands = [_enqueue(path, f"{tag}.{number}") for number, path in enumerate(files)]
    return _two_at_a_time(stand, commands)


def _cold_scripts(stand: Stand, files: Sequence[str]) -> Usage:
    return _two_at_a_time(
        stand, [python_module("tests.bench.rivals.official", stand.job([path])) for path in files]
    )


def _two_at_a_time(stand: Stand, commands: Sequence[Sequence[str]]) -> Usage:
    stand.sink.reset()
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda command: _timed(stand, command), commands))
    exited = time.monotonic()
    usage = _located(stand, len(commands), began)
    usage.start_s = exited - began
    return usage


def _one_file(stand: Stand, runs: int) -> Result:
    [path] = stand.files(1, 200_000, "one")
    tag = f"one{time.monotonic_ns()}"
    moments: dict[str, list[float]] = {name: [] for name in MOMENTS}
    for number in range(runs):
        stand.sink.reset()
        began = time.monotonic()
        exited_s = _timed(stand, _enqueue(path, f"{tag}.{number}"))
        usage = _located(stand, 1, began)
        call, put = usage.api["first_call"] - began, usage.store["first_put"] - began
        for name, moment in zip(MOMENTS, (exited_s, call, put, usage.seconds), strict=True):
            moments[name].append(moment)
    result = Result(
        "one-file",
        "One file of 200 kB, from its hook to ftrack",
        "Near, with one idle worker of 2 processes. The time begins when the process of the hook "
        "is started.",
        ("", "ms", "fastest to slowest"),
    )
    result.rows = [
        (
            name,
            f"{1000 * median(times):.0f}",
            f"{1000 * min(times):.0f} to {1000 * max(times):.0f}",
        )
        for name, times in moments.items()
    ]
    name = "from the start of the hook to located"
    result.targets = [Target(name, 1000 * median(moments[MOMENTS[-1]]), "<= 80", " ms")]
    return result


def _enqueue(path: str, name: str, *program: str) -> list[str]:
    program = program or (str(BIN / "farmhaul"),)
    return [*program, "enqueue", path, "--version-id", seed.VERSION_ID, "--name", name]


def _located(stand: Stand, count: int, began: float) -> Usage:
    """Wait until so many files are located; the sink knows when the last one was."""
    wait_until(lambda: stand.sink.api_stats()["located"] == count, TIMEOUT_S)
    api = stand.sink.api_stats()
    return Usage(api["last_located"] - began, began, api=api, store=stand.sink.store_stats())


def _timed(stand: Stand, command: Sequence[str | Path]) -> float:
    """Run a command and nothing else, and return its seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        cwd=CHECKOUT,
        env={**os.environ, **stand.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{command[:3]} exited with {done.returncode}: {done.stderr[-2000:]}")
    return seconds
