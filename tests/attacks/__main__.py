"""Run the attacks against the first version and this one: ``python -m tests.attacks [NAME…]``.

The first version is commit 8eaa80a, in a temporary folder with an environment of its own that its
``make venv`` makes. Prints a table: what each attack does, and whether it succeeds there and here.
Exits with 1 if one succeeds here, or could not be tried here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.sandbox.process import CHECKOUT

FIRST_VERSION = "8eaa80a"
PROGRAMS = Path(__file__).parent / "programs"
#: What else got through then, and why no program tries it against that commit.
NO_FORM = {
    "fills Redis by PINGs whose answers nobody reads": "it begins with a login that is tried here",
    "sends other bytes by an old record": "here they are refused a day later: test_checksum.py",
    "answers a byte now and then": "it takes minutes: test_an_answer_of_the_store_that_drips_ends",
    "answers with more than 16 MiB": "test_an_answer_that_is_too_large_fails_its_own_upload_alone",
    "lets an audit pass without a database": (
        "the audit was a line of the Makefile, and needs packages of a registry"
    ),
    "delays its neighbours by a line of a spool": "no form was found: test_inbox_odd.py",
    "crashes awk by a job's comment": "it depends on the awk of the machine: test_local_user.py",
    "fails a live upload by an operator's retry": "that version repaired nothing: test_repair.py",
    "forges what farmhaul watch shows": "run once by hand: test_watch.py",
    "gives a tag to another image": (
        "no registry can be asked where this runs; deploy/docker/pin-images.sh writes digests"
    ),
    "gives a hook an option by the name of a file": "it depends on the manager: test_paths.py",
    "reads hook.env": "it is a matter of the documentation",
    "has a task run by remote control from Flower": (
        "it needs Flower's Redis user of this version: test_remote_control.py"
    ),
    "leads a hook elsewhere by a link in a shared spool": (
        "that version shared no spool: test_local_user.py"
    ),
    "adds a setting by a value of the inventory": "that version had no roles: test_deploy.py",
    "asks for uploads by a stolen hook's node": "there was no inbox: test_hook_attacks.py",
}


def main(names: list[str]) -> int:
    """Run these attacks, or all of them, against both versions."""
    with tempfile.TemporaryDirectory(prefix="first-version") as text:
        first = Path(text)
        _check_out(first)
        then, now = _run(first, names), _run(CHECKOUT, names)
    print(f"\n| attack | {FIRST_VERSION} | this version |\n|---|---|---|")
    for name in now:
        print(f"| {name} | {_said(then.get(name))} | {_said(now[name])} |")
    for name, why in NO_FORM.items():
        print(f"| {name} | not run: {why} | |")
    succeeded = [name for name, line in then.items() if line.get("succeeds")]
    held = [name for name in succeeded if now.get(name, {}).get("succeeds") is False]
    print(f"\n{len(succeeded)} succeed against {FIRST_VERSION}; {len(held)} of them fail now.")
    return 0 if all(line.get("succeeds") is False for line in now.values()) else 1


def _check_out(folder: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", FIRST_VERSION], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    python = shutil.which("python3.11") or sys.executable
    subprocess.run(["make", "venv", f"PYTHON={python}"], cwd=folder, check=True)
    shutil.copytree(PROGRAMS, folder / "tests" / "attacks" / "programs")
    (folder / "tests" / "attacks" / "__init__.py").touch()


def _run(checkout: Path, names: list[str]) -> dict[str, dict[str, object]]:
    """Run the attacks in a checkout; return what each came to, by its name."""
    command = [str(checkout / ".venv/bin/python"), "-m", "tests.attacks.programs", *names]
    lines: dict[str, dict[str, object]] = {}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, cwd=checkout, env=env, stdout=subprocess.PIPE, text=True) as run:
        for text in run.stdout or ():
            print(f"{checkout.name}: {text}", end="", flush=True)
            line = json.loads(text)
            lines[str(line["attack"])] = line
    return lines


def _said(line: dict[str, object] | None) -> str:
    if line is None:
        return "not run"
    if "why" in line:
        return f"not tried: {line['why']}"
    return "succeeds" if line["succeeds"] else "fails"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
