"""What the tests of hooks share: a farm's settings as a node has them, hooks put in place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.farm import Farm, wait_until
from tests.helpers.pyz import built_pyz
from tests.sandbox.process import CHECKOUT

HOOKS = CHECKOUT / "deploy" / "farm"
#: What a hook needs to know; ftrack's credentials are not among it. The spool, as on a busy
#: machine Redis may not answer a hook in time, and the worker's map stays the worker's.
_SETTINGS = ("FARMHAUL_REDIS_URL", "FARMHAUL_STORAGE_ROOTS", "FARMHAUL_SPOOL")


def settings_of(farm: Farm, **changes: str) -> dict[str, str]:
    """The settings of a node that only enqueues."""
    known = {name: farm.env[name] for name in _SETTINGS if name in farm.env}
    return {**known, **changes}


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))


def put_in_place(hook: str, folder: Path, **lines: str | Path) -> Path:
    """Copy a hook into *folder* with the lines set that its head asks for."""
    text = (HOOKS / hook).read_text()
    for name, value in lines.items():
        sign = "=" if f"\n{name}=" in text else " = "
        start = text.index(f"\n{name}{sign}") + 1
        text = f"{text[:start]}{name}{sign}'{value}'{text[text.index(chr(10), start) :]}"
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / Path(hook).name
    copy.write_text(text)
    copy.chmod(0o755)
    return copy


def wait_stored(farm: Farm, contents: Collection[bytes], timeout_s: float = 30) -> None:
    """Poll until what ftrack shows in its store are files of these contents, and no others.

    A sequence has a component of its own that has no bytes, and one for each frame.
    """
    sandbox = farm.sandbox

    def found() -> list[bytes]:
        locations = sandbox.ftrack.entities("ComponentLocation")
        ids = [one["component_id"] for one in locations]
        return sorted(sandbox.store.read(one) for one in ids if sandbox.store.exists(one))

    wait_until(
        lambda: found() == sorted(contents),
        timeout_s,
        lambda: f"{found()}; {farm.cli('status', '--all', '--json').stdout}",
    )


def environment_of(lock: str | Path) -> Path:
    """A virtual environment with what a lock, of this folder or elsewhere, pins; cached."""
    pinned = Path(__file__).parent / lock
    digest = hashlib.sha256(pinned.read_bytes() + sys.version.encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farmhaul"
    base.mkdir(parents=True, exist_ok=True)
    folder = base / f"{pinned.stem}-{digest}"
    with (base / f"{folder.name}.lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)  # two test processes at once
        if not (folder / "made").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            quiet = ("-qq", "--disable-pip-version-check")
            pip = (folder / "bin" / "python", "-m", "pip", "install", *quiet)
            subprocess.run([*pip, "--require-hashes", "-r", pinned], check=True)
            (folder / "made").touch()
    return folder


def timed(command: Sequence[str | Path], env: Mapping[str, str], times: int = 20) -> list[float]:
    """Run a hook so many times, one after the other; the seconds that each took."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, env=dict(env), capture_output=True, timeout=60)
        taken.append(time.perf_counter() - start)
    return taken


def enqueue_bare(file: Path, python: str, uploads: list[dict[str, Any]]) -> Any:
    """Import the hook as a daemon would: another Python, and nothing in the environment.

    Gives its exit code, its line for the log, and the seconds that it took, without the import.
    """
    code = (
        "import json, sys, time; sys.path.insert(0, sys.argv[1]);"
        "from farmhaul_hook import enqueue; began = time.time();"
        "code, line = enqueue(json.loads(sys.argv[2]));"
        "print(json.dumps([code, line, time.time() - began]))"
    )
    done = subprocess.run(
        [python, "-I", "-S", "-B", "-X", "utf8", "-c", code, file, json.dumps(uploads)],
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def command_of(file: Path) -> list[str]:
    """Return how a shell starts the hook."""
    return [sys.executable, "-I", "-S", "-X", "utf8", str(file)]


def installed_in(folder: Path, farm: Farm, **changes: str) -> Path:
    """Put the hook and its hook.env into a folder; return the path of the hook."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / built_pyz().name
    shutil.copy(built_pyz(), file)
    write_settings(folder / "hook.env", settings_of(farm, **changes))
    return file
