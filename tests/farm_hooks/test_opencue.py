"""OpenCue's layers: the job that pyoutline makes of them, its frames run by a real RQD.

cuebot, the scheduler, is a Java server that no package index has: cuebot.py stands in for it.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.farm import Farm, wait_until
from tests.farm_hooks.stand import (
    HOOKS,
    command_of,
    environment_of,
    installed_in,
    wait_stored,
)
from tests.sandbox.process import Child, accepts, free_ports

#: The installation of RQD and pyoutline takes time on a new machine.
pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def opencue() -> Path:
    """The folder with the commands of OpenCue's packages."""
    return environment_of("opencue.lock") / "bin"


def spec_of(opencue: Path, farm: Farm, out: Path, kind: str) -> str:
    """The job with a hook of some kind, as pyoutline would send it to cuebot."""
    hook = command_of(installed_in(out.parent / "hook", farm))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(out),
        "PYTHONPATH": str(HOOKS / "opencue"),
        "PYTHONDONTWRITEBYTECODE": "1",  # no files among those that are shipped
    }
    done = subprocess.run(
        [
            opencue / "python", HERE / "outlines.py", kind, out, farm.sandbox.ftrack.version_id,
            json.dumps(hook),
        ],
        env=environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def listens(port: int) -> bool:
    with suppress(OSError):
        return accepts(port)
    return False


def run(opencue: Path, folder: Path, spec: str) -> dict[str, int]:
    """Let a real RQD run the frames of a job; their exit codes, and their logs in *folder*."""
    port, rqd_port = free_ports(2)
    config = folder / "rqd.conf"
    config.write_text(
        f"[Override]\nOVERRIDE_CUEBOT=127.0.0.1\nCUEBOT_GRPC_PORT={port}\n"
        f"RQD_GRPC_PORT={rqd_port}\nRQD_BECOME_JOB_USER=false\nRQD_USE_IP_AS_HOSTNAME=false\n"
    )
    cuebot = subprocess.Popen(
        [opencue / "python", HERE / "cuebot.py", str(port), str(rqd_port), folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    rqd: Child | None = None
    try:
        # First: an rqd that finds no cuebot within seconds tries again after 15 s.
        wait_until(lambda: listens(port) or cuebot.poll() is not None, 60)
        # With the configuration in its environment: rqd reads it when it is imported.
        command: list[str | Path] = [opencue / "rqd", "--nimbyoff", "-c", config]
        rqd = Child("rqd", command, folder / "rqd.log", env={"RQD_CONFIG_FILE": str(config)})
        said, trouble = cuebot.communicate(spec, timeout=150)
    finally:
        cuebot.kill()
        cuebot.communicate()
        if rqd is not None:
            rqd.kill()
    assert cuebot.returncode == 0, trouble + (folder / "rqd.log").read_text()[-3000:]
    lines = [json.loads(line) for line in said.splitlines()]
    return {line["frame"]: line["exit_status"] for line in lines}


def test_each_frame_is_queued_when_it_is_done_and_a_failed_one_is_not(
    opencue: Path, farm: Farm, out: Path, tmp_path: Path
) -> None:
    (out / "fail").touch()
    spec = spec_of(opencue, farm, out, "after_each_frame")
    depend = ElementTree.fromstring(spec.rpartition('.dtd">')[2]).find("depends/depend")
    assert depend is not None
    assert depend.get("type") == "FRAME_BY_FRAME"

    frames = run(opencue, tmp_path, spec)

    assert frames == {
        "1001-render": 0, "1002-render": 1, "1003-render": 0,
        "1001-render_farmhaul": 0, "1003-render_farmhaul": 0,
    }  # fmt: skip
    wait_stored(farm, [b"frame 1001", b"frame 1003"])
    assert '"upload_id"' in (tmp_path / "job.1001-render_farmhaul.rqlog").read_text()


def test_a_layer_is_queued_as_a_sequence_after_its_last_frame(
    opencue: Path, farm: Farm, out: Path, tmp_path: Path
) -> None:
    frames = run(opencue, tmp_path, spec_of(opencue, farm, out, "after_layer"))

    assert frames["1001-render_farmhaul"] == 0
    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])


def test_the_post_job_of_a_failed_job_names_missing_frames_only(
    opencue: Path, farm: Farm, out: Path, tmp_path: Path
) -> None:
    (out / "fail").touch()
    frames = run(opencue, tmp_path, spec_of(opencue, farm, out, "after_job"))

    assert frames["1001-farmhaul"] == 2
    assert "missing: 1002" in (tmp_path / "job.1001-farmhaul.rqlog").read_text()
    assert farm.cli("status", "--all", "--json").stdout == ""
    # Rendered again, and well: the post job of the second run.
    (out / "fail").unlink()
    again = run(opencue, tmp_path, spec_of(opencue, farm, out, "after_job"))
    assert again["1001-farmhaul"] == 0
    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])


def written(opencue: Path, frames: str | None) -> str:
    """The sequence that the layer asks for; an error's last line."""
    program = (
        "import sys, farmhaul_outline\n"
        "print(farmhaul_outline._sequence('/p/f.%04d.exr', *sys.argv[1:] or [None]))"
    )
    done = subprocess.run(
        [opencue / "python", "-B", "-c", program, *([] if frames is None else [frames])],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOOKS / "opencue")},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return (done.stdout or done.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("frames", "ranges"),
    [
        ("1-10:5", "1-10"),
        ("10-1x-1", "1-10"),
        ("1-10y3", "2-3, 5-6, 8-9"),
        ("1001-1005x2,1010", "1001, 1003, 1005, 1010"),
        ("7", "7"),
    ],
)
def test_opencues_own_library_reads_the_frames(opencue: Path, frames: str, ranges: str) -> None:
    assert written(opencue, frames) == f"/p/f.%04d.exr [{ranges}]"


@pytest.mark.parametrize("frames", ["-5-5", "1-9999x2", "1001-1010%2", None])
def test_frames_that_farmhaul_refuses_make_no_layer(opencue: Path, frames: str | None) -> None:
    assert written(opencue, frames).startswith("ValueError: ")


def test_a_path_is_safe_from_the_shell_that_reads_the_command(
    opencue: Path, farm: Farm, out: Path
) -> None:
    spec = spec_of(opencue, farm, out / "it's $HOME; a b", "after_layer")
    layers = ElementTree.fromstring(spec.rpartition('.dtd">')[2]).findall("job/layers/layer")
    command = layers[1].findtext("cmd") or ""
    words = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n' {command}"],
        capture_output=True, text=True, timeout=30,
    ).stdout.splitlines()  # fmt: skip

    assert words[words.index("--") + 1] == f"{out}/it's $HOME; a b/f.%04d.exr [1001-1003]"
