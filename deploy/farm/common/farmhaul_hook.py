"""Hands finished renders to ``farmhaul enqueue`` from inside a render manager.

Needs Python 3.7 and nothing else. Nothing here raises or waits for long: a manager calls
`enqueue`, writes its line into the log, and goes on.

An upload is written to disk before farmhaul is started, and removed from there by farmhaul-send
when farmhaul has it. So nothing is lost when farmhaul is not installed on this host, is killed,
or the host goes down: farmhaul flush-spool, or a worker here, sends what lies there for a minute.
farmhaul is waited for 1 s and then left running: it has the upload in Redis or its spool a
moment later, where killing it would make a busy controller do the work twice.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any, Callable, Iterable, Sequence  # noqa: UP035 Python 3.7

HERE = Path(__file__).resolve().parent
SETTINGS = (HERE / "hook.env", Path("/etc/farmhaul/hook.env"))
SPOOL = "/var/spool/farmhaul"

#: A hook has to return within 2 s. farmhaul takes half a second; fifty hooks at once on two busy
#: cores have added 1 s to this (measured 2026-11).
WAIT_S = 1.0

#: What a job may carry, each with ftrack_ before it: keys of a manifest.
TEXTS = (
    "component_id",
    "version_id",
    "task_id",
    "name",
    "publish",
    "frame_range",
    "fps",
    "resolution",
    "priority",
)
FLAGS = ("thumbnail", "encode", "reviewable")

REFUSED = 2
NOT_QUEUED = 3

_under_way: list[subprocess.Popen[bytes]] = []


def upload(path: str, lookup: Callable[[str], Any], number: int | str = "") -> dict[str, Any]:
    """Make a manifest's line of what the job says of a path; empty when it names no ftrack id.

    *lookup* gives the job's value of a key, or nothing. With *number*, several outputs of a job
    are told apart: ftrack_version_id1 goes before ftrack_version_id.
    """

    def value(key: str) -> str:
        return str(lookup(f"ftrack_{key}{number}") or lookup(f"ftrack_{key}") or "").strip()

    found: dict[str, Any] = {key: value(key) for key in TEXTS if value(key)}
    if not {"component_id", "version_id"} & set(found):
        return {}
    for key in FLAGS:
        if value(key).lower() in {"1", "true", "yes", "on"}:
            found[key] = True
    if value("metadata"):
        # Text that is no JSON goes on as it is: farmhaul refuses it, and says why.
        try:
            found["metadata"] = json.loads(value("metadata"))
        except ValueError:
            found["metadata"] = value("metadata")
    found["path"] = path
    return found


def sequence(path: str, frames: Iterable[int]) -> str:
    """Write the frames of f.####.exr as farmhaul reads them: f.%04d.exr [1001-1240].

    A # or ? stands for each digit. Without them the path is that of one file, and so it is with
    a single frame.
    """
    numbers = sorted(set(frames))
    marks = list(re.finditer(r"[#?]+(?=[^#?/\\]*$)", path))
    if not marks or not numbers:
        return path
    start, end = marks[0].span()
    digits = end - start
    if len(numbers) == 1:
        return f"{path[:start]}{numbers[0]:0{digits}d}{path[end:]}"
    return f"{path[:start]}%0{digits}d{path[end:]} [{ranges(numbers)}]"


def ranges(numbers: Iterable[int]) -> str:
    """Write ascending numbers compactly: 1001-1100, 1110."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{one}-{other}" if one != other else f"{one}" for one, other in runs)


def enqueue(uploads: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Hand uploads over; gives an exit code and one line for the manager's log. Never raises.

    The code is 0 when farmhaul has the uploads or is still taking them in, 2 when it refuses
    them, and 3 when it could not take them: they then lie in the manifest that the line names.
    """
    try:
        code, text = _enqueue([one for one in uploads if one])
    except Exception as error:  # noqa: BLE001 our faults must not stop a farm
        code, text = NOT_QUEUED, f"nothing is queued: {type(error).__name__}: {error}"
    # In ASCII, as nobody knows the encoding of a manager's log.
    line = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return code, f"farmhaul: {line}"


def _enqueue(uploads: Sequence[dict[str, Any]]) -> tuple[int, str]:
    if not uploads:
        return 0, "the job names no ftrack id; nothing is queued"
    end = time.monotonic() + WAIT_S
    environment = _environment()
    folder = Path(environment["FARMHAUL_SPOOL"], "manifests")
    manifest = _keep(folder, uploads)
    more = f" and {len(uploads) - 1} more" if len(uploads) > 1 else ""
    what = f"{uploads[0]['path']}{more}"
    with tempfile.TemporaryFile() as output:
        try:
            farmhaul = _send(manifest, environment, output)
            code = farmhaul.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return 0, f"{what}: farmhaul needs longer than usual, and goes on by itself"
        except OSError as error:
            # Windows, for one: a host with farmhaul sends what lies in a shared folder.
            return NOT_QUEUED, f"{what}: kept in {manifest} ({error.strerror})"
        output.seek(0)
        lines = output.read().decode("utf-8", "replace").splitlines()
    said = "; ".join(one.replace("farmhaul: ", "") for one in lines if not one.startswith("{"))
    if code == 0:
        states = Counter(json.loads(one)["state"] for one in lines if one.startswith("{"))
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return 0, f"{what}: queued ({counts}){said and '; ' + said}"
    if code == REFUSED:
        return REFUSED, f"{what}: refused, set aside as {manifest.with_suffix('.bad')}: {said}"
    return NOT_QUEUED, f"{what}: not queued, kept in {manifest}: {said or f'exit code {code}'}"


def _environment() -> dict[str, str]:
    """All that farmhaul is given: the settings. A daemon's own environment may do it harm."""
    found = {name: text for name, text in os.environ.items() if name.startswith("FARMHAUL_")}
    for settings in SETTINGS:
        if settings.exists():
            for line in settings.read_text(encoding="utf-8").splitlines():
                match = re.fullmatch(r"(FARMHAUL_\w+)=(['\"]?)(.*)\2\s*", line)
                if match:
                    found[match[1]] = match[3]
            break
    found.setdefault("FARMHAUL_SPOOL", SPOOL)
    return found


def _keep(folder: Path, uploads: Sequence[dict[str, Any]]) -> Path:
    """Write a manifest, whole or not at all: into the spool, or else where anybody may write."""
    name = f"{time.time():.0f}-"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(".tmp", name, folder)
    except OSError:
        handle, unfinished = tempfile.mkstemp(".tmp", f"farmhaul-{name}")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.writelines(json.dumps(one) + "\n" for one in uploads)
        file.flush()
        os.fsync(file.fileno())
    manifest = Path(unfinished).with_suffix(".jsonl")
    Path(unfinished).replace(manifest)
    return manifest


def _send(
    manifest: Path, environment: dict[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start farmhaul-send in a process group of its own, which no manager ends with its job."""
    _under_way[:] = [one for one in _under_way if one.poll() is None]
    process = subprocess.Popen(
        ["/bin/sh", str(HERE / "farmhaul-send"), str(manifest)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    _under_way.append(process)
    return process
