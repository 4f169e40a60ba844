"""Somebody on the machine: names of files, what lies in the way, comments of jobs, limits."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
from pathlib import Path

from tests.attacks.programs.ground import (
    Ground,
    arrive,
    ask,
    holds,
    new_id,
)
from tests.farm import BIN, Farm
from tests.sandbox.process import CHECKOUT, free_ports

ESCAPE = "\x1b]0;owned\x07"


def says_escape_sequences_by_the_target_of_a_link(ground: Ground) -> bool:
    with ground.farm() as farm:
        component_id = farm.sandbox.ftrack.add_component()
        path = farm.make_file("f.exr", 100)
        path.unlink()
        path.symlink_to(f"/etc/{ESCAPE}hosts")
        enqueued = farm.cli("enqueue", "--no-stat", path, "--component-id", component_id)
        holds(lambda: "outside" in farm.workers[0].log_text(), 8)
        shown = farm.cli("status", "--all")
        texts = (enqueued.stdout, enqueued.stderr, shown.stdout, farm.workers[0].log_text())
        return any("\x1b" in text for text in texts)


def hangs_a_fetch_by_a_fifo(ground: Ground) -> bool:
    with ground.farm() as farm:
        upload = ask(farm)
        farm.wait_located([upload.id])
        folder = farm.make_file("x", 1).parent
        (folder / f".{upload.component_id}.part").write_bytes(b"begun")
        os.mkfifo(folder / f".{upload.component_id}.etag")
        try:
            farm.cli("fetch", upload.component_id, "--to", folder, timeout_s=25)
        except subprocess.TimeoutExpired:
            return True
        return False


def hangs_a_fetch_by_a_lock_on_what_it_has_left(ground: Ground) -> bool:
    with ground.farm() as farm:
        upload = ask(farm)
        farm.wait_located([upload.id])
        folder = farm.make_file("x", 1).parent
        part = folder / f".{upload.component_id}.part"
        part.write_bytes(b"begun")
        os.utime(part, (1, 1))
        with part.open("rb") as theirs:  # whoever may read it can do so
            fcntl.flock(theirs, fcntl.LOCK_EX)
            try:
                farm.cli("fetch", upload.component_id, "--to", folder, timeout_s=25)
            except subprocess.TimeoutExpired:
                return True
        return False


def hangs_an_enqueue_by_a_fifo_in_the_spool(ground: Ground) -> bool:
    spool = ground.folder / "spool"
    with ground.farm(0, FARMHAUL_SPOOL=str(spool)) as farm:
        _spool(farm)
        for kept in _kept(spool):
            kept.unlink()
            os.mkfifo(kept)
        path, component_id = farm.make_file("g.exr", 10), farm.sandbox.ftrack.add_component()
        try:
            farm.cli("enqueue", path, "--component-id", component_id, timeout_s=20)
        except subprocess.TimeoutExpired:
            return True
        return False


def _spool(farm: Farm) -> str:
    """Have an upload kept in the spool; return its component."""
    [port] = free_ports(1)
    path, component_id = farm.make_file("f.exr", 10), farm.sandbox.ftrack.add_component()
    away = {"FARMHAUL_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    done = farm.cli("enqueue", path, "--component-id", component_id, env=away)
    if "spooled" not in done.stdout:
        raise AssertionError(f"nothing was spooled: {done.stderr}")
    return str(component_id)


def _kept(spool: Path) -> list[Path]:
    return [path for path in spool.rglob("*.json*") if path.is_file()]


def blocks_a_spool_by_a_folder_in_it(ground: Ground) -> bool:
    spool = ground.folder / "spool"
    with ground.farm(0, FARMHAUL_SPOOL=str(spool)) as farm:
        component_id = _spool(farm)
        for place in (spool, *(path.parent for path in _kept(spool)), spool / "manifests"):
            for name in ("0.json", "0.jsonl"):
                (place / name).mkdir(parents=True, exist_ok=True)
                os.utime(place / name, (1, 1))
        for command in ("drain", "flush-spool"):  # the same, in the first version and in this one
            farm.cli(command)
        farm.add()
        return not holds(lambda: farm.sandbox.ftrack.locations(component_id), 25)


def has_an_enqueue_end_by_a_frame_that_is_no_text(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        frame = farm.make_file("f.1001.exr", 100)
        folder = os.fsencode(frame.parent)
        frame.rename(os.fsdecode(folder + b"/f\xff.1001.exr"))
        with open(folder + b"/f\xff.1002.exr", "wb") as file:
            file.write(b"x")
        target = ("--version-id", farm.sandbox.ftrack.version_id, "--name", new_id()[:8])
        done = subprocess.run(
            [str(BIN / "farmhaul"), "enqueue", folder, *target],
            env=farm.environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return b"Traceback" in done.stderr


def fills_a_record_by_the_metadata_of_a_line(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        line = {
            "path": str(farm.make_file("f.exr", 100)),
            "version_id": farm.sandbox.ftrack.version_id,
            "name": "main",
            "metadata": {f"key{number}": "x" * 4000 for number in range(2000)},
        }
        manifest = ground.folder / "list.jsonl"
        manifest.write_text(json.dumps(line))
        done = farm.cli("enqueue", "--manifest", manifest)
        return done.returncode == 0


def reads_what_is_in_a_spool(ground: Ground) -> bool:
    spool = ground.folder / "spool"
    spool.mkdir()
    spool.chmod(0o755)  # as install -d makes it
    with ground.farm(0, FARMHAUL_SPOOL=str(spool)) as farm:
        _spool(farm)
        return bool(_kept(spool)) and bool(spool.stat().st_mode & 0o077)


def has_a_request_of_its_own_sent_from_anothers_spool(ground: Ground) -> bool:
    if os.geteuid():
        raise AssertionError("only root can give a file to another user")
    spool = ground.folder / "spool"
    with ground.farm(0, FARMHAUL_SPOOL=str(spool)) as farm:
        component_id = _spool(farm)
        for path in _kept(spool):
            os.chown(path, 65534, 65534)
        for command in ("drain", "flush-spool"):  # the same, in the first version and in this one
            farm.cli(command)
        farm.add()
        return holds(lambda: farm.sandbox.ftrack.locations(component_id), 20)


def gives_a_documented_installation_another_build_backend(_ground: Ground) -> bool:
    """Pip fetches what builds the project, without a hash, if nobody tells it not to."""
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages).replace("\\\n", " ")
    own = re.findall(r"pip install [^\n`]*--no-deps [^\n`]*\.(?=[\s`])", text)
    return any("--no-build-isolation" not in line for line in own)


def delays_by_a_limit_that_was_lifted(ground: Ground) -> bool:
    with ground.farm() as farm:
        farm.cli("limit", "--bandwidth", "1k")
        holds(lambda: False, 3)
        upload = ask(farm, 400_000)
        if arrive(farm, upload, within_s=8):
            raise AssertionError("the limit was not in force")
        farm.cli("limit", "--clear")
        return not arrive(farm, upload, within_s=20)


def _slurm(ground: Ground, comment: str) -> tuple[str, bytes]:
    """Run the controller's hook for a job with this comment; return its log, and what it sent."""
    log, sent = ground.folder / "slurm.log", ground.folder / "sent"
    text = (CHECKOUT / "deploy/farm/slurm/slurmctld-hook.sh").read_text(encoding="utf-8")
    # What farmhaul says of a line that it refuses quotes it.
    stub = ground.folder / "stub"
    stub.write_text(f"#!/bin/sh\nhead -c 3000000 >{sent}\nhead -c 2000 {sent}\nexit 2\n")
    stub.chmod(0o755)
    places = {"LOG": log, "HOOK": stub, "SETTINGS": ground.folder / "none"}
    for name, value in places.items():
        text = re.sub(rf"(?m)^{name}=\S*", f"{name}={value}", text)
    # It runs the hook by a Python, and the command by itself.
    text = text.replace('python3 -I -S -X utf8 "$HOOK"', '"$HOOK"')
    hook = ground.folder / "hook.sh"
    hook.write_text(text)
    env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    env |= {"SLURM_JOB_COMMENT": comment, "FARMHAUL_COMMAND": str(stub)}
    subprocess.run(["dash", hook], env=env, timeout=60, capture_output=True, check=False)
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return said, sent.read_bytes() if sent.exists() else b""


def forges_a_line_of_slurms_log(ground: Ground) -> bool:
    comment = r'farmhaul {"path": "/mnt/%a\n2026-11-25T00:00:00 job 9: forged"}'
    said, _ = _slurm(ground, comment)
    return any(line.startswith("2026-11-25T00:00:00") for line in said.splitlines())
