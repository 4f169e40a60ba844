"""Slurm's hooks, in a Slurm cluster of one node and real uploads behind it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian import NoPackages
from tests.farm import Farm, wait_until
from tests.farm_hooks.conftest import Installed, TellP95
from tests.farm_hooks.slurm_cluster import Cluster, cluster
from tests.farm_hooks.stand import (
    put_in_place,
    settings_of,
    timed,
    wait_stored,
    write_settings,
)
from tests.helpers.pyz import NAME, built_pyz
from tests.helpers.skipping import skip_loudly
from tests.sandbox.process import NO_REDIS

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
#: Writes a file named by Slurm's own task number, as a renderer would.
RENDER = 'printf "frame %s" "$SLURM_ARRAY_TASK_ID" >"$OUT/f.$SLURM_ARRAY_TASK_ID.exr"'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with hooks, settings and logs."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def running_slurm(place: Path) -> Iterator[Cluster]:
    settings = {"HOOK": place / NAME}
    shutil.copy(built_pyz(), place)
    folder = place / "slurm"
    folder.mkdir()
    # Slurm is installed nowhere: its scontrol needs to be told where its things are.
    scontrol = place / "bin" / "scontrol"
    path = f"{scontrol.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    hook = "slurm/slurmctld-hook.sh"
    epilog = put_in_place(hook, place / "epilog", PATH=path, LOG=place / "epilog.log", **settings)
    jobcomp = put_in_place(
        hook, place / "jobcomp", PATH=path, LOG=place / "jobcomp.log", **settings
    )
    put_in_place("slurm/farmhaul-enqueue.sh", place / "jobs", PATH=path, **settings)
    put_in_place("slurm/farmhaul-sbatch.sh", place / "jobs")
    lines = {
        "EpilogSlurmctld": epilog,
        "JobCompType": "jobcomp/script",
        "JobCompLoc": jobcomp,
    }
    try:
        with cluster(folder, lines) as one:
            names = ("SLURM_CONF", "LD_LIBRARY_PATH", "PATH")
            exports = "".join(f"export {name}='{one.environment[name]}'\n" for name in names)
            scontrol.parent.mkdir()
            scontrol.write_text(f'#!/bin/sh\n{exports}exec scontrol "$@"\n')
            scontrol.chmod(0o755)
            yield one
    except NoPackages as error:
        skip_loudly("NOTHING ABOUT SLURM WAS TESTED", error)


@pytest.fixture
def slurm(running_slurm: Cluster, farm: Farm, place: Path) -> Cluster:
    write_settings(place / "hook.env", settings_of(farm))
    for name in ("epilog.log", "jobcomp.log"):
        (place / name).write_text("")
    return running_slurm


def sbatch(slurm: Cluster, place: Path, *arguments: str | Path) -> list[str]:
    """Submit a render and its upload by the wrapper; gives the ids of both jobs."""
    return slurm.run(place / "jobs" / "farmhaul-sbatch.sh", *arguments).split()


def told(place: Path, log: str) -> str:
    return (place / log).read_text()


def wait_told(place: Path, log: str, lines: int) -> None:
    """Wait until a log has so many lines."""
    wait_until(lambda: told(place, log).count("\n") == lines, describe=lambda: told(place, log))


@pytest.mark.slurm
def test_a_dependent_job_queues_the_whole_render_once_it_is_complete(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    version = farm.sandbox.ftrack.version_id
    render, upload = sbatch(
        slurm, place, f"{out}/f.%04d.exr [1001-1003]", "--version-id", version,
        "--name", "main", "--", "--array=1001-1003", f"--export=ALL,OUT={out}", f"--wrap={RENDER}",
    )  # fmt: skip
    slurm.wait(render, "COMPLETED")
    slurm.wait(upload, "COMPLETED")

    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])
    assert '"upload_id"' in (slurm.folder / f"slurm-{upload}.out").read_text()


@pytest.mark.slurm
def test_a_failed_frame_holds_its_own_upload_back_and_no_other(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    render, upload = sbatch(
        slurm, place, f"{out}/f.%4a.exr", "--version-id", farm.sandbox.ftrack.version_id,
        "--", "--array=1001-1003", f"--export=ALL,OUT={out}",
        f'--wrap={RENDER}; test "$SLURM_ARRAY_TASK_ID" != 1002',
    )  # fmt: skip
    slurm.wait(render, "COMPLETED", "FAILED")
    slurm.wait(upload, "COMPLETED", "CANCELLED")

    wait_stored(farm, [b"frame 1001", b"frame 1003"])


@pytest.mark.slurm
def test_a_failed_frame_holds_the_whole_sequence_back(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    version = farm.sandbox.ftrack.version_id
    render, upload = sbatch(
        slurm, place, f"{out}/f.%04d.exr [1001-1002]", "--version-id", version, "--",
        "--array=1001-1002", f"--export=ALL,OUT={out}",
        f'--wrap={RENDER}; test "$SLURM_ARRAY_TASK_ID" != 1002',
    )  # fmt: skip
    slurm.wait(render, "COMPLETED", "FAILED")
    slurm.wait(upload, "CANCELLED")

    assert farm.cli("status", "--all", "--json").stdout == ""


@pytest.mark.slurm
def test_the_controller_queues_and_logs_each_frame_that_succeeded(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    line = {"path": f"{out}/f.%4a.exr", "version_id": farm.sandbox.ftrack.version_id}
    render = slurm.submit(
        "--array=1001-1003", f"--comment=farmhaul {json.dumps(line)}", f"--export=ALL,OUT={out}",
        f'--wrap={RENDER}; test "$SLURM_ARRAY_TASK_ID" != 1002',
    )  # fmt: skip
    slurm.wait(render, "COMPLETED", "FAILED")

    # Both hooks are set up here, so each frame is asked for twice.
    wait_stored(farm, [b"frame 1001", b"frame 1003"])
    for log in ("epilog.log", "jobcomp.log"):
        wait_told(place, log, lines=3)
        assert told(place, log).count('"upload_id"') == 2
    assert "exit code 1:0; nothing is queued" in told(place, "epilog.log")
    assert "FAILED; nothing is queued" in told(place, "jobcomp.log")


@pytest.mark.slurm
def test_a_requeued_job_ends_with_the_file_of_its_last_run(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    component = farm.sandbox.ftrack.add_component("f.exr")
    line = {"path": f"{out}/f.exr", "component_id": component}
    again = 'test "$SLURM_RESTART_COUNT"'
    script = f'echo "run $SLURM_RESTART_COUNT" >{out}/f.exr; {again} || sleep 60'
    job = slurm.submit("--requeue", f"--comment=farmhaul {json.dumps(line)}", f"--wrap={script}")
    wait_until((out / "f.exr").exists, describe=lambda: slurm.run("scontrol", "show", "job", job))
    slurm.run("scontrol", "requeue", job)
    slurm.wait(job, "PENDING")
    slurm.run_again(job)
    slurm.wait(job, "COMPLETED")

    for log in ("epilog.log", "jobcomp.log"):
        wait_told(place, log, lines=2)
    assert [entry.split(": ")[1][:7] for entry in told(place, "jobcomp.log").splitlines()] == [
        "PENDING",
        '{"uploa',
    ]
    assert "nothing is queued" not in told(place, "epilog.log")
    wait_stored(farm, [b"run 1\n"])


@pytest.mark.slurm
def test_while_redis_is_down_the_controller_spools(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    spool = place / "spool"
    away = {
        "FARMHAUL_REDIS_URL": NO_REDIS,
        "FARMHAUL_SPOOL": str(spool),
    }
    write_settings(place / "hook.env", settings_of(farm, **away))
    component = farm.sandbox.ftrack.add_component("f.exr")
    line = {"path": f"{out}/f.exr", "component_id": component}
    comment = f"--comment=farmhaul {json.dumps(line)}"
    job = slurm.submit(comment, f"--wrap=echo done >{out}/f.exr")
    slurm.wait(job, "COMPLETED")
    wait_until(lambda: "spooled" in told(place, "epilog.log") + told(place, "jobcomp.log"))

    farm.cli("flush-spool", env={"FARMHAUL_SPOOL": str(spool)})
    wait_stored(farm, [b"done\n"])


@pytest.mark.slurm
def test_slurm_requeues_an_upload_that_cannot_be_queued_or_spooled(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    no_folder = str(place / NAME)
    away = {"FARMHAUL_REDIS_URL": NO_REDIS, "FARMHAUL_SPOOL": no_folder}
    write_settings(place / "hook.env", settings_of(farm, **away))
    component = farm.sandbox.ftrack.add_component("f.exr")
    render, upload = sbatch(
        slurm, place, f"{out}/f.exr", "--component-id", component,
        "--", f"--wrap=echo done >{out}/f.exr",
    )  # fmt: skip

    def restarted() -> bool:
        shown = slurm.run("scontrol", "show", "job", upload)
        return "Restarts=1" in shown and "JobState=PENDING" in shown

    wait_until(restarted, 40, lambda: slurm.run("scontrol", "show", "job", upload))
    assert slurm.state(render) == {"COMPLETED"}
    write_settings(place / "hook.env", settings_of(farm))
    slurm.run_again(upload)
    slurm.wait(upload, "COMPLETED")
    wait_stored(farm, [b"done\n"])


@pytest.mark.slurm
def test_a_job_without_an_ftrack_id_logs_that_nothing_is_queued(
    slurm: Cluster, farm: Farm, place: Path, out: Path
) -> None:
    [render] = sbatch(slurm, place, f"{out}/f.exr", "--", f"--wrap=echo done >{out}/f.exr")
    slurm.wait(render, "COMPLETED")
    for log in ("epilog.log", "jobcomp.log"):
        wait_told(place, log, lines=1)
        assert "names no upload; nothing is queued" in told(place, log)


# Without Slurm: the hook as the controller calls it, in an environment that holds nothing else.


def call_hook(installed: Installed, log: Path, **job: str) -> int:
    path = f"{installed.folder}/bin:{Path(sys.executable).parent}:/usr/bin:/bin"
    lines: dict[str, str | Path] = {"LOG": log, "HOOK": installed.file, "PATH": path}
    hook = put_in_place("slurm/slurmctld-hook.sh", installed.folder / "slurm", **lines)
    env = {"SLURM_JOB_ID": "7", "SLURM_JOB_EXIT_CODE2": "0:0", **job}
    return subprocess.run([hook], env=env, timeout=30).returncode


def comment(path: str) -> str:
    return "farmhaul " + json.dumps({"path": path, "version_id": VERSION})


@pytest.mark.parametrize(
    ("path", "queued"),
    [
        ("/mnt/%a/f.%6a.exr", "/mnt/42/f.000042.exr"),
        ("/mnt/f.%02a.exr", "/mnt/f.42.exr"),
    ],
)
def test_the_hook_puts_the_number_of_the_task_into_the_path(
    installed: Installed, tmp_path: Path, path: str, queued: str
) -> None:
    job = {"SLURM_JOB_COMMENT": comment(path), "SLURM_ARRAY_TASK_ID": "42"}

    assert call_hook(installed, tmp_path / "log", **job) == 0
    assert [one for one, _ in installed.queued] == [queued]
    [line] = (tmp_path / "log").read_text().splitlines()
    assert 'job 7: {"upload_id"' in line


@pytest.mark.parametrize("path", ["/mnt/f.%04d.exr [1-9]", "/mnt/f.%99999999a.exr"])
def test_the_hook_refuses_a_path_that_every_array_task_would_send(
    installed: Installed, tmp_path: Path, path: str
) -> None:
    log = tmp_path / "log"
    job = {"SLURM_JOB_COMMENT": comment(path), "SLURM_ARRAY_TASK_ID": "42"}

    assert call_hook(installed, log, **job) == 0
    assert "nothing is queued. Write %4a" in log.read_text()
    assert installed.queued == []


@pytest.mark.parametrize(
    ("values", "is_queued"),
    [
        ({"name": "main"}, False),
        ({"component_id": VERSION}, False),
        ({"name": "main_%a", "metadata": {"name": "a"}}, True),
    ],
)
def test_the_tasks_of_an_array_are_not_one_component(
    installed: Installed, tmp_path: Path, values: dict[str, object], is_queued: bool
) -> None:
    line = json.dumps({"path": "/mnt/f.%4a.exr", "version_id": VERSION, **values})
    job = {"SLURM_JOB_COMMENT": f"farmhaul {line}", "SLURM_ARRAY_TASK_ID": "42"}

    assert call_hook(installed, tmp_path / "log", **job) == 0
    assert installed.queued == ([("/mnt/f.0042.exr", "main_42")] if is_queued else [])
    told = (tmp_path / "log").read_text()
    assert ("would have one component or publish; nothing is queued" in told) is not is_queued


#: What scontrol shows while the controller's hook runs (Slurm 22.05).
ENDED = """\
JobId=70 JobName=x
   JobState=COMPLETING Reason=NodeDown Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:9

JobId=7 ArrayJobId=7 ArrayTaskId=4 JobName=x Reason=NodeDown ExitCode=0:9
   JobState={state} Reason={reason} Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode={code}
   Comment=x Reason=NodeDown ExitCode=0:9
"""


@pytest.mark.parametrize(
    ("state", "reason", "code", "is_queued"),
    [
        ("COMPLETING", "None", "0:0", True),
        ("COMPLETING", "TimeLimit", "0:0", False),
        ("COMPLETING", "NodeDown", "0:0", False),
        ("COMPLETING", "None", "0:15", False),
        ("COMPLETED", "None", "0:0", True),
        # It has trapped the signal, and ended as if nothing had happened.
        ("CANCELLED", "None", "0:0", False),
        ("PREEMPTED", "None", "0:0", False),
    ],
)
def test_a_job_that_has_not_completed_is_not_taken_for_a_success(
    installed: Installed, tmp_path: Path, *, state: str, reason: str, code: str, is_queued: bool
) -> None:
    shown = ENDED.format(state=state, reason=reason, code=code)
    program(installed, "scontrol", f"cat <<'END'\n{shown}END")
    job = {"SLURM_JOB_COMMENT": comment("/mnt/f.exr")}

    assert call_hook(installed, tmp_path / "log", **job) == 0
    assert len(installed.queued) == is_queued
    told = f"Reason={reason} ExitCode={code} ; nothing is queued"
    assert (told in (tmp_path / "log").read_text()) is not is_queued


def test_a_comment_of_many_digits_does_not_reach_awk(installed: Installed, tmp_path: Path) -> None:
    job = {"SLURM_JOB_COMMENT": comment("/mnt/%a/f.%99999999a.exr"), "SLURM_ARRAY_TASK_ID": "42"}

    assert call_hook(installed, tmp_path / "log", **job) == 0
    assert [path for path, _ in installed.queued] == ["/mnt/42/f.%99999999a.exr"]


def test_a_comment_cannot_write_lines_of_its_own_into_the_log(
    installed: Installed, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    forged = r'farmhaul {"path": "\n2026-11-26T00:00:00 job 8: forged"}'
    for text in (forged, r"\nforged", "farmhaul \x1b[2J\nforged"):
        assert call_hook(installed, log, SLURM_JOB_COMMENT=text) == 0
    lines = log.read_text().splitlines()
    assert len(lines) == 3
    assert all(" job 7: " in line for line in lines)
    assert "\x1b" not in log.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no upload"),
        ("render of sh010", "names no upload"),
        ('farmhaul{"path": "/mnt/f.exr"}', "does not begin with 'farmhaul '"),
        ('nightly; farmhaul {"path": "/mnt/f.exr"}', "does not begin with 'farmhaul '"),
        ("farmhaul", "does not begin with 'farmhaul '"),
    ],
)
def test_a_comment_that_is_not_understood_is_said(
    installed: Installed, tmp_path: Path, text: str, says: str
) -> None:
    log = tmp_path / "log"
    assert call_hook(installed, log, SLURM_JOB_COMMENT=text) == 0
    [line] = log.read_text().splitlines()
    assert (says in line, "nothing is queued" in line) == (True, True)


def test_what_could_not_be_queued_is_in_the_log(installed: Installed, tmp_path: Path) -> None:
    log = tmp_path / "log"
    installed.break_down()
    assert call_hook(installed, log, SLURM_JOB_COMMENT=comment("/mnt/a b.exr")) == 0
    [line] = log.read_text().splitlines()
    assert line.endswith(f"; the upload is {comment('/mnt/a b.exr').removeprefix('farmhaul ')}")


def test_a_job_that_scontrol_does_not_show_is_said(installed: Installed, tmp_path: Path) -> None:
    program(installed, "scontrol", "echo 'Invalid job id specified' >&2; exit 1")
    log = tmp_path / "log"
    job = {"JOBID": "7", "JOBSTATE": "COMPLETED", "ARRAYJOBID": "0", "ARRAYTASKID": ""}
    assert call_hook(installed, log, **job) == 0
    [line] = log.read_text().splitlines()
    assert "Invalid job id specified" in line
    assert "enqueue it by hand" in line


@pytest.mark.parametrize("log", ["/nowhere/log", "/dev/full"])
def test_a_log_that_cannot_be_written_goes_to_syslog(
    installed: Installed, tmp_path: Path, log: str
) -> None:
    program(installed, "logger", f'printf "%s\\n" "$*" >>"{tmp_path}/syslog"')
    assert call_hook(installed, Path(log), SLURM_JOB_COMMENT=comment("/etc/f.exr")) == 0
    [line] = (tmp_path / "syslog").read_text().splitlines()
    assert line.startswith(f"-t farmhaul -- {log} cannot be written; job 7: exit code 2: ")


def program(installed: Installed, name: str, text: str) -> None:
    """Put a program onto the PATH of the hook."""
    path = installed.folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


SBATCH = """case $* in
*farmhaul-enqueue.sh*) echo refused >&2; exit 1 ;;
*) echo 7 ;;
esac"""


@pytest.mark.parametrize(
    ("upload", "code", "says"),
    [
        (["/mnt/f.exr"], 0, "no ftrack id given: job 7 renders, but nothing is queued"),
        (["/mnt/f.exr", "--version-id", VERSION], 1, "sbatch has refused the job of the upload"),
        (["--manifest", "list.jsonl"], 1, "sbatch has refused the job of the upload"),
        (["/mnt/f.exr", "--context=demo/sh010"], 1, "sbatch has refused the job of the upload"),
        (["/mnt/f.%a.exr", f"--version-id={VERSION}"], 2, "scontrol shows none for this job"),
        (
            ["/mnt/f.%a.exr", "--name=f %a", f"--version-id={VERSION}"],
            2,
            "scontrol shows none for this job",
        ),
        (["/mnt/f.%a.exr", "--component-id", VERSION], 2, "leave out --component-id=9f1d2c3b-"),
        (["/mnt/f.%a.exr", "--context=a", "--name=main"], 2, "leave out --name=main, or write %4a"),
    ],
)
def test_a_render_that_is_submitted_without_its_upload_is_said(
    installed: Installed, upload: list[str], code: int, says: str
) -> None:
    program(installed, "sbatch", SBATCH)
    program(installed, "scontrol", "exit 1")
    script = put_in_place("slurm/farmhaul-sbatch.sh", installed.folder)
    done = subprocess.run(
        [script, *upload, "--", "render.sh"],
        env={"PATH": f"{installed.folder}/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (code, "7\n")
    assert says in done.stderr


SHOWN = """\
JobId=8 ArrayJobId=7 ArrayTaskId=4 JobName=x ArrayTaskId=1-999 Comment=y ArrayTaskId=1-888
JobId=7 ArrayJobId=7 ArrayTaskId=5-6%2 JobName=x ArrayTaskId=1-999 Comment=y ArrayTaskId=1-888
"""


def test_the_name_of_a_job_array_does_not_give_its_upload_other_tasks(
    installed: Installed, tmp_path: Path
) -> None:
    program(installed, "sbatch", f'printf "%s\\n" "$*" >>"{tmp_path}/given"; echo 7')
    program(installed, "scontrol", f"cat <<'END'\n{SHOWN}END")
    script = put_in_place("slurm/farmhaul-sbatch.sh", installed.folder)
    done = subprocess.run(
        [script, "/mnt/f.%4a.exr", "--version-id", VERSION, "--", "render.sh"],
        env={"PATH": f"{installed.folder}/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "7\n7\n"), done.stderr
    _, upload = (tmp_path / "given").read_text().splitlines()
    assert upload.startswith("--parsable --dependency=aftercorr:7 --array=4,5-6 ")


def test_the_hook_never_fails_the_controller(installed: Installed, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = {"SLURM_JOB_COMMENT": comment("/mnt/f.exr")}
    installed.break_down()

    assert call_hook(installed, log, **job) == 0
    assert "exit code 3" in log.read_text()
    installed.file.unlink()
    assert call_hook(installed, log, **job) == 0
    assert "exit code 2" in log.read_text()
    assert call_hook(installed, tmp_path / "none" / "log", **job) == 0


@pytest.mark.slurm
def test_how_long_the_controllers_hook_takes(
    farm: Farm, place: Path, slurm: Cluster, tell_p95: TellP95
) -> None:
    path = farm.make_file("f.exr", b"done")
    line = {"path": str(path), "component_id": farm.sandbox.ftrack.add_component("f.exr")}
    comment = f"farmhaul {json.dumps(line)}"
    env = {"SLURM_JOB_ID": "7", "SLURM_JOB_COMMENT": comment}
    tell_p95("slurmctld-hook.sh", timed([place / "epilog" / "slurmctld-hook.sh"], env))
    wait_stored(farm, [b"done"])
