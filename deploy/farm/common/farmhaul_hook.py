"""Hands finished renders to ``farmhaul enqueue`` from inside a render manager.

Needs Python 3.7 and nothing else. Nothing here raises or waits for long: a manager calls
`enqueue`, writes its line to the log, and continues.

The hook writes an upload to disk before it starts farmhaul; farmhaul-send removes the file when
farmhaul has the upload. Nothing is lost if farmhaul is not installed on this host or is killed, or
if the host goes down: farmhaul flush-spool, or a worker here, sends every file that is older than
a minute. The hook waits 1 s for farmhaul, then leaves it running. A moment later the upload is in
Redis or in the spool; if the hook killed farmhaul, a busy controller would do the work twice.
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

#: A hook must return within 2 s. farmhaul takes half a second. Fifty hooks at once on two busy
#: cores added 1 s to this (measured 2026-11).
WAIT_S = 1.0

#: Keys of a manifest that a job may have, each with the prefix ftrack_.
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
    """Return the manifest line for an output of a job; empty if the job names no ftrack id.

    *lookup* returns the job's value of a key, or nothing. *number* is the number of the output if
    a job has several: ftrack_version_id1 then wins over ftrack_version_id.
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
        # A text that is not JSON is passed on, because farmhaul refuses it and says why.
        try:
            found["metadata"] = json.loads(value("metadata"))
        except ValueError:
            found["metadata"] = value("metadata")
    found["path"] = path
    return found


def sequence(path: str, frames: Iterable[int]) -> str:
    """Return a sequence as farmhaul reads it: f.%04d.exr [1001-1240] for f.####.exr.

    Each # or ? stands for a digit. A path without them, or with a single frame, is one file.
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
    """Return ascending numbers as ranges: 1001-1100, 1110."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in found)


def enqueue(uploads: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Hand uploads to farmhaul; return an exit code and one line for the log. Never raises.

    The code is 0 if farmhaul has the uploads or is still working on them, 2 if it refuses them,
    and 3 if it could not take them: they are then in the manifest that the line names.
    """
    try:
        code, text = _enqueue([upload for upload in uploads if upload])
    except Exception as error:  # noqa: BLE001 an error of the hook must not stop a farm
        code, text = NOT_QUEUED, f"nothing is queued: {type(error).__name__}: {error}"
    # ASCII, because the encoding of a manager's log is not known.
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
            return 0, f"{what}: farmhaul takes longer than usual and continues in the background"
        except OSError as error:
            # On Windows, for example: a host with farmhaul sends the manifests in a shared folder.
            return NOT_QUEUED, f"{what}: kept in {manifest} ({error.strerror})"
        output.seek(0)
        lines = output.read().decode("utf-8", "replace").splitlines()
    said = "; ".join(line.replace("farmhaul: ", "") for line in lines if not line.startswith("{"))
    if code == 0:
        states = Counter(json.loads(line)["state"] for line in lines if line.startswith("{"))
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return 0, f"{what}: queued ({counts}){said and '; ' + said}"
    if code == REFUSED:
        return REFUSED, f"{what}: refused, set aside as {manifest.with_suffix('.bad')}: {said}"
    return NOT_QUEUED, f"{what}: not queued, kept in {manifest}: {said or f'exit code {code}'}"


def _environment() -> dict[str, str]:
    """Return farmhaul's environment: only the settings, because a daemon's own may break it."""
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
    """Write a manifest atomically, into the spool or else into the folder for temporary files."""
    name = f"{time.time():.0f}-"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(".tmp", name, folder)
    except OSError:
        handle, unfinished = tempfile.mkstemp(".tmp", f"farmhaul-{name}")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.writelines(json.dumps(upload) + "\n" for upload in uploads)
        file.flush()
        os.fsync(file.fileno())
    manifest = Path(unfinished).with_suffix(".jsonl")
    Path(unfinished).replace(manifest)
    return manifest


def _send(
    manifest: Path, environment: dict[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start farmhaul-send in a process group of its own, so that no manager kills it with a job."""
    _under_way[:] = [process for process in _under_way if process.poll() is None]
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
