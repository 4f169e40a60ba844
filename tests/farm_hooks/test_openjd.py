"""OpenJD's templates as shipped, run by openjd-cli, with real uploads behind them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.intake.ranges import numbers_of
from tests.farm import Farm
from tests.farm_hooks.stand import HOOKS, environment_of, settings_of, wait_stored
from tests.helpers.pyz import built_pyz
from tests.sandbox import seed
from tests.sandbox.process import NO_REDIS

#: The installation of openjd-cli takes time on a new machine; a run does not.
pytestmark = pytest.mark.slurm

TEMPLATES = HOOKS / "openjd"


@pytest.fixture(scope="module")
def openjd() -> Path:
    return environment_of("openjd.lock") / "bin" / "openjd"


class Job:
    """A template, its parameters, and what becomes of it."""

    def __init__(self, openjd: Path, farm: Farm, out: Path, folder: Path) -> None:
        self.out = out
        self._openjd = openjd
        self._folder = folder
        settings = settings_of(farm)
        self.redis_url = folder / "redis_url"
        self.redis_url.write_text(settings["FARMHAUL_REDIS_URL"])
        renderer = folder / "render"
        renderer.write_text(
            '#!/bin/sh\n[ "$1" != "$FAIL" ] || exit 9\nprintf "frame %s" "$1" >"$2"\n'
        )
        renderer.chmod(0o755)
        self.parameters = {
            "Renderer": str(renderer),
            "Frames": "1001-1003",
            "Output": str(self.out),
            "FtrackVersionId": farm.sandbox.ftrack.version_id,
            "FarmhaulHook": str(built_pyz()),
            "Python": sys.executable,
            "FarmhaulRedisUrlFile": str(self.redis_url),
            "FarmhaulHookKeyFile": "",
            "FarmhaulStorageRoots": settings["FARMHAUL_STORAGE_ROOTS"],
            "FarmhaulSpool": settings["FARMHAUL_SPOOL"],
        }

    def run(self, template: str, step: str, fail: str = "") -> subprocess.CompletedProcess[str]:
        parameters = [f"--job-param={name}={value}" for name, value in self.parameters.items()]
        # A worker of a farm hands on next to nothing.
        environment = {"PATH": os.environ["PATH"], "FAIL": fail}
        return subprocess.run(
            [
                self._openjd, "run", TEMPLATES / template, f"--step={step}", "--run-dependencies",
                f"--environment={TEMPLATES / 'farmhaul_environment.yaml'}", *parameters,
            ],
            cwd=self._folder, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip


@pytest.fixture
def job(openjd: Path, farm: Farm, out: Path, tmp_path: Path) -> Job:
    return Job(openjd, farm, out, tmp_path)


@pytest.mark.parametrize(
    "template",
    ["render_then_enqueue.yaml", "render_and_enqueue_frames.yaml", "farmhaul_environment.yaml"],
)
def test_a_shipped_template_is_a_valid_one(openjd: Path, template: str) -> None:
    done = subprocess.run(
        [openjd, "check", TEMPLATES / template], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dependent_step_queues_all_frames_after_the_last_one(job: Job, farm: Farm) -> None:
    job.parameters["Frames"] = "1001-1005:2"
    done = job.run("render_then_enqueue.yaml", "Enqueue")

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"upload_id"' in done.stdout
    wait_stored(farm, [b"frame 1001", b"frame 1003", b"frame 1005"])
    # Requeued: the same once more.
    assert job.run("render_then_enqueue.yaml", "Enqueue").returncode == 0
    farm.wait_quiet()


def test_frames_that_are_rendered_backwards_are_one_sequence(job: Job, farm: Farm) -> None:
    job.parameters["Frames"] = "1003-1001:-1"
    done = job.run("render_then_enqueue.yaml", "Enqueue")

    assert done.returncode == 0, done.stdout + done.stderr
    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])


@pytest.mark.parametrize(
    ("template", "step"),
    [("render_then_enqueue.yaml", "Enqueue"), ("render_and_enqueue_frames.yaml", "Render")],
)
def test_a_job_may_name_its_shot_in_place_of_a_version(
    job: Job, farm: Farm, template: str, step: str
) -> None:
    job.parameters |= {"FtrackVersionId": "", "FtrackContext": "demo/sh010"}
    job.parameters |= {"FtrackAsset": "beauty = 1", "FtrackAssetType": "Render"}
    job.parameters["FtrackTask"] = "lighting"
    for key in ("NzA=", "NzA=", "OA=="):  # as some managers write ids; the same one is a rerun
        job.parameters["FtrackVersionKey"] = key
        done = job.run(template, step)
        assert done.returncode == 0, done.stdout + done.stderr

    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"] * 2)
    ftrack = farm.sandbox.ftrack
    [asset] = [one for one in ftrack.entities("Asset") if one["name"] == "beauty = 1"]
    versions = [v for v in ftrack.entities("AssetVersion") if v["asset_id"] == asset["id"]]
    found = sorted((v["version"], v["task_id"]) for v in versions)
    assert found == [(1, seed.TASK_ID), (2, seed.TASK_ID)]
    job.parameters["FtrackAssetType"] = ""
    assert job.run("render_then_enqueue.yaml", "Check").returncode == 1


@pytest.mark.parametrize(
    ("name", "value"), [("Frames", "-2-2"), ("FileName", "f.exr"), ("FtrackVersionId", "v003")]
)
def test_what_would_be_refused_is_not_rendered(job: Job, name: str, value: str) -> None:
    job.parameters[name] = value
    done = job.run("render_then_enqueue.yaml", "Enqueue")

    assert done.returncode == 1
    assert "farmhaul: " in done.stdout
    assert [*job.out.iterdir()] == []


def test_openjds_ranges_mean_the_same_to_farmhaul(openjd: Path) -> None:
    """As the template writes them, with an x for each colon."""
    texts = ["1001-1240", "1-10:5", "10-1:-1", "10-1:-3", "1, 5 - 7, 9-20 : 2", "7", "1-1"]
    program = (
        "import json, sys\nfrom openjd.model import IntRangeExpr\n"
        "print(json.dumps([sorted(IntRangeExpr.from_str(text)) for text in sys.argv[1:]]))"
    )
    done = subprocess.run(
        [openjd.with_name("python"), "-c", program, *texts], capture_output=True, timeout=60
    )
    ours = [numbers_of(text.replace(":", "x"), text) for text in texts]

    assert [list(numbers) for numbers in ours] == json.loads(done.stdout)


def test_a_failed_frame_holds_the_dependent_step_back(job: Job, farm: Farm) -> None:
    for number in (1001, 1002, 1003):  # an earlier job's, so that there is something to queue
        (job.out / f"beauty.{number}.exr").write_bytes(b"stale")
    done = job.run("render_then_enqueue.yaml", "Enqueue", fail="1002")

    assert done.returncode == 1
    assert "upload_id" not in done.stdout
    assert farm.cli("status", "--all", "--json").stdout == ""


def test_a_frame_that_queues_itself_does_so_though_another_one_fails(job: Job, farm: Farm) -> None:
    done = job.run("render_and_enqueue_frames.yaml", "Render", fail="1002")

    assert done.returncode == 1
    wait_stored(farm, [b"frame 1001"])


def test_frames_that_cannot_be_queued_or_spooled_stay_done(job: Job, tmp_path: Path) -> None:
    job.redis_url.write_text(NO_REDIS)
    spool = tmp_path / "spool"
    spool.write_text("a file where the folder should be")
    job.parameters["FarmhaulSpool"] = str(spool)

    frames = job.run("render_and_enqueue_frames.yaml", "Render")
    assert frames.returncode == 0, frames.stdout
    assert "rendered, but not queued for ftrack (exit code 3)" in frames.stdout
    # The step that does nothing else fails, so that the farm tries it again.
    assert job.run("render_then_enqueue.yaml", "Enqueue").returncode == 1


def test_while_redis_is_away_uploads_are_spooled_and_the_step_is_done(job: Job, farm: Farm) -> None:
    job.redis_url.write_text(NO_REDIS)
    done = job.run("render_then_enqueue.yaml", "Enqueue")

    assert done.returncode == 0, done.stdout
    assert "spooled" in done.stdout
    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])


@pytest.mark.parametrize(
    ("template", "step"),
    [("render_then_enqueue.yaml", "Enqueue"), ("render_and_enqueue_frames.yaml", "Render")],
)
def test_a_job_without_an_ftrack_id_logs_that_nothing_is_queued(
    job: Job, template: str, step: str
) -> None:
    job.parameters["FtrackVersionId"] = ""
    done = job.run(template, step)

    assert done.returncode == 0, done.stdout
    assert "the job has no FtrackVersionId or FtrackContext; nothing is queued" in done.stdout
