"""Every process says all faults of its settings when it starts, one a line, and exits with 2."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.farm import BIN, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox.process import CHECKOUT, CLOSED_PORT

ID = "2c5e8f9a-1b34-4d6e-8f70-a1b2c3d4e5f6"
WRONG = {
    "FARMHAUL_REDIS_URL": "redis://:s3cr3t#@host",
    "FARMHAUL_STORAGE_ROOTS": "renders",
    "FARMHAUL_SECRET_KEY": "A" * 43 + "=",
    "FARMHAUL_SECRET_KEY_FILE": "/run/secrets/s3cr3t",
    "FARMHAUL_SPOL": "s3cr3t",
}
#: What the faults begin with.
FAULTS = (
    "FARMHAUL_REDIS_URL: contains a character that must be escaped",
    "FARMHAUL_STORAGE_ROOTS: 'renders' is not an absolute path",
    "FARMHAUL_SECRET_KEY and FARMHAUL_SECRET_KEY_FILE are both set",
    "FARMHAUL_SPOL is not a variable of farmhaul; did you mean FARMHAUL_SPOOL?",
)
#: What workers, and nodes that call ftrack, read in addition to these.
OF_WORKERS = {
    "FTRACK_SERVER": "studio.ftrackapp.com",
    "FTRACK_API_USER": "farm",
    "FTRACK_API_KEY": "k3y",
    "FARMHAUL_LEASE_SECONDS": "a minute",
    "REQUESTS_CA_BUNDLE": "/nowhere/ca.pem",
}
FAULTS_OF_WORKERS = (
    "FARMHAUL_LEASE_SECONDS: 'a minute' is not",
    "FTRACK_SERVER: 'studio.ftrackapp.com' is not a server URL; write https://studio",
    "REQUESTS_CA_BUNDLE: cannot read /nowhere/ca.pem",
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    names = ("FARMHAUL_", "FTRACK_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=CHECKOUT, env={**kept, **WRONG, **OF_WORKERS}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert "s3cr3t" not in (done.stdout + done.stderr).replace("/run/secrets/s3cr3t", "")
    return done


@pytest.mark.parametrize(
    "command",
    [
        ("farmhaul", "worker", "--concurrency=1"),
        ("celery", "-A", "workers", "worker"),
        ("farmhaul", "exporter"),
        ("celery", "-A", "workers", "flower"),
        ("farmhaul", "fetch", ID, "--to", "/tmp"),
        ("farmhaul", "status"),
        ("farmhaul", "enqueue", "f.exr", "--component-id", ID),
    ],
    ids=" ".join,
)
def test_each_process_says_all_faults_and_exits_with_2(command: tuple[str, ...]) -> None:
    done = run(*command)

    expected = FAULTS if "enqueue" in command else FAULTS + FAULTS_OF_WORKERS
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (2, len(expected)), done.stderr
    for fault in expected:
        assert [line for line in lines if line.startswith(f"farmhaul: {fault}")], done.stderr


def test_doctor_lists_them_as_findings() -> None:
    done = run("farmhaul", "doctor")

    said = [json.loads(line)["says"] for line in done.stdout.splitlines()]
    assert (done.returncode, len(said)) == (1, len(FAULTS + FAULTS_OF_WORKERS))
    for fault in FAULTS + FAULTS_OF_WORKERS:
        assert [line for line in said if line.startswith(fault)]


def test_a_worker_says_what_is_missing(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("F")}
    environment = {**kept, "FARMHAUL_STORAGE_ROOTS": f"{tmp_path}:{tmp_path}/cache"}
    done = subprocess.run(
        [BIN / "celery", "-A", "workers", "worker"],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    ftrack, root = done.stderr.splitlines()
    assert done.returncode == 2
    assert ftrack.startswith("farmhaul: FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not")
    assert root.startswith(f"farmhaul: FARMHAUL_STORAGE_ROOTS: {tmp_path}/cache: No such file")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (
            "--logfile=/nowhere/x",
            "the worker cannot start: /nowhere/x: No such file or directory; name a file",
        ),
        (
            "--statedb=/nowhere/x",
            "the worker cannot start: /nowhere/x.dat: No such file or directory; name a file",
        ),
        ("--pool=gevent", "the worker cannot start: --pool needs the package gevent"),
        (
            "--uid=nosuchuser",
            "the worker cannot start: User does not exist: nosuchuser; name one of this host",
        ),
        ("--autoscale=1,x", "the worker cannot start: --autoscale takes two numbers"),
        ("--pidfile=/nowhere/x", "--pidfile=/nowhere/x: its folder is missing, or not to be"),
        ("--max-tasks-per-child=0", "--max-tasks-per-child=0 is not a number from 1 on"),
        ("-Qfarmhaul,other", "-Q other: no upload goes to a queue of this name; name farmhaul"),
    ],
)
def test_an_option_that_keeps_a_worker_from_starting(
    make_farm: MakeFarm, option: str, why: str
) -> None:
    env = make_farm(workers=0).env
    command = [str(BIN / "farmhaul"), "worker", "--concurrency=1", option]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert f"\nfarmhaul: {why}" in f"\n{ended.stderr}"
    assert "Traceback" not in ended.stderr


def test_a_worker_refuses_a_locale_without_utf_8(make_farm: MakeFarm) -> None:
    env = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    command = [str(BIN / "celery"), "-A", "workers", "worker", "--concurrency=1"]
    ended = subprocess.run(
        command, cwd=CHECKOUT, env=make_farm(workers=0).environment(env),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("farmhaul: the locale: Python reads names of files as ascii")


@pytest.mark.slow
def test_a_worker_whose_log_is_on_a_full_disk_uploads(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=0)
    command = [str(BIN / "farmhaul"), "worker", "--concurrency=1"]
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            command, cwd=CHECKOUT, env=farm.environment(), stdout=full, stderr=full
        ) as worker,
    ):
        try:
            farm.wait_located([farm.upload().id])
        finally:
            worker.terminate()
            assert worker.wait(60) == 0


@pytest.mark.slow
def test_a_worker_whose_log_fills_its_disk_goes_on(make_farm: MakeFarm, tmp_path: Path) -> None:
    farm = make_farm(workers=0)
    log, out = tmp_path / "log", tmp_path / "out"
    command = [BIN / "farmhaul", "worker", "--concurrency=1", f"--logfile={log}"]
    # Files of 6 kB at most stand for a disk that is full after as much.
    limited = ["bash", "-c", 'ulimit -f 6; exec "$0" "$@"', *map(str, command)]
    with (
        out.open("w") as there,
        subprocess.Popen(
            limited, cwd=CHECKOUT, env=farm.environment(), stdout=there, stderr=there
        ) as worker,
    ):
        try:
            while not log.exists() or log.stat().st_size < 6 << 10:
                farm.wait_located([farm.upload().id])
            farm.wait_located([farm.upload().id])
        finally:
            worker.terminate()
            assert worker.wait(60) == 0


def test_a_worker_names_the_proxy_that_keeps_it_from_ftrack(make_farm: MakeFarm) -> None:
    proxy = f"127.0.0.1:{CLOSED_PORT}"
    far = {"FTRACK_SERVER": "https://studio.example", "https_proxy": f"http://me:hunter2@{proxy}"}

    [worker] = make_farm(env=far).workers

    wait_until(lambda: "cannot_call_ftrack" in worker.log_text())
    assert f"correct https_proxy=http://***@{proxy}, name the host" in worker.log_text()
    assert "hunter2" not in worker.log_text()
