"""Flamenco's job type, compiled by node as Flamenco would, and the command that comes out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from tests.farm import Farm
from tests.farm_hooks.conftest import TellP95
from tests.farm_hooks.stand import HOOKS, installed_in, timed, wait_stored
from tests.helpers.skipping import skip_loudly

JOB_TYPE = HOOKS / "flamenco" / "farmhaul_render.js"

#: What Flamenco gives a job type: author, frameChunker, print. From its job compiler's
#: documentation, https://flamenco.blender.org/usage/job-types/
SHIM = """
const fs = require('fs'), vm = require('vm');
const tasks = [];
class Task {
    constructor(name, type) { Object.assign(this, {name, type, commands: [], dependencies: []}); }
    addCommand(command) { this.commands.push(command); }
    addDependency(task) { this.dependencies.push(task.name); }
}
const sandbox = {
    author: {
        Task: (name, type) => new Task(name, type),
        Command: (name, parameters) => ({name, parameters}),
    },
    frameChunker(frames, size) {
        const all = frames.split(',').flatMap((range) => {
            const [first, last] = range.split('-').map(Number);
            return Array.from({length: (last || first) - first + 1}, (_, i) => first + i);
        });
        const chunks = [];
        for (let i = 0; i < all.length; i += size) {
            const [one, other] = [all[i], all[Math.min(i + size, all.length) - 1]];
            chunks.push(one === other ? `${one}` : `${one}-${other}`);
        }
        return chunks;
    },
    print: (...words) => console.error(...words),
};
vm.createContext(sandbox);
vm.runInContext(fs.readFileSync(process.argv[1], 'utf8'), sandbox);
sandbox.job = {settings: JSON.parse(process.argv[2]), addTask: (task) => tasks.push(task)};
vm.runInContext('compileJob(job)', sandbox);
const types = vm.runInContext('JOB_TYPE.settings', sandbox);
console.log(JSON.stringify({tasks, types}));
"""


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        skip_loudly("NOTHING ABOUT FLAMENCO WAS TESTED", "no node on PATH")
    return found


def compiled(node: str, **settings: object) -> tuple[dict[str, Any], str]:
    """Compile a job; its tasks and the settings it asks for, and what it printed."""
    given = {
        "frames": "1001-1003", "chunk_size": 2, "render_output_path": "/p/f.######",
        "ftrack_version_id": "", "ftrack_name": "", "blendfile": "/p/a.blend",
        "format": "OPEN_EXR", "image_file_extension": ".exr", **settings,
    }  # fmt: skip
    done = subprocess.run(
        [node, "-e", SHIM, JOB_TYPE, json.dumps(given)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return cast("dict[str, Any]", json.loads(done.stdout)), done.stderr


def upload_words(job: dict[str, Any], hook: Path = Path("hook")) -> list[str]:
    """The words of the command that queues, with the manager's variables in place."""
    [command] = job["tasks"][-1]["commands"]
    assert command["name"] == "exec"
    variables = {"{farmhaulPython}": sys.executable, "{farmhaulHook}": str(hook)}
    words = [command["parameters"]["exe"], *command["parameters"]["args"]]
    return [variables.get(word, word) for word in words]


def test_the_task_that_queues_waits_for_every_render(node: str) -> None:
    job, _ = compiled(node, ftrack_version_id="9f1d")

    *renders, upload = job["tasks"]
    assert [task["name"] for task in renders] == ["render-1001-1002", "render-1003"]
    assert upload["dependencies"] == ["render-1001-1002", "render-1003"]
    assert upload["type"] == "misc"
    assert [task["commands"][0]["parameters"]["args"][-1] for task in renders] == [
        "1001..1002",
        "1003",
    ]


@pytest.mark.parametrize(
    ("output", "path"),
    [
        ("/p/f.######", "/p/f.%06d.exr [1001-1003]"),
        ("/p#1/f_##_v1", "/p#1/f_%02d_v1.exr [1001-1003]"),
        ("/p/f_", "/p/f_%04d.exr [1001-1003]"),
        # With a mark, Blender leaves an extension that is there; else the number comes after it.
        ("/p/f.####.exr", "/p/f.%04d.exr [1001-1003]"),
        ("/p/f.####.EXR", "/p/f.%04d.EXR [1001-1003]"),
        ("/p/f.exr", "/p/f.exr%04d.exr [1001-1003]"),
        ("/p/f.####.png", "/p/f.%04d.png.exr [1001-1003]"),
    ],
)
def test_the_path_is_written_as_farmhaul_reads_sequences(node: str, output: str, path: str) -> None:
    job, _ = compiled(node, ftrack_version_id="9f1d", render_output_path=output)

    assert upload_words(job)[1:] == [
        "-I", "-S", "-X", "utf8", "hook", "enqueue", path, "--version-id", "9f1d",
    ]  # fmt: skip


@pytest.mark.parametrize("written", [".jpg", ".jpeg", ".JPG"])
def test_blender_leaves_both_spellings_of_an_extension(node: str, written: str) -> None:
    output = {"render_output_path": f"/p/f.####{written}", "image_file_extension": ".jpg"}
    job, _ = compiled(node, ftrack_version_id="9f1d", **output)

    words = upload_words(job)
    assert words[words.index("enqueue") + 1] == f"/p/f.%04d{written} [1001-1003]"


def test_the_files_give_the_component_its_name_if_the_job_does_not(node: str) -> None:
    job, _ = compiled(node, ftrack_version_id="9f1d", ftrack_name="main")

    assert upload_words(job)[-2:] == ["--name", "main"]
    [default] = [one["default"] for one in job["types"] if one["key"] == "ftrack_name"]
    assert default == ""


def test_a_job_without_an_ftrack_id_only_renders(node: str) -> None:
    job, said = compiled(node)

    assert {task["type"] for task in job["tasks"]} == {"blender"}
    assert "nothing will be uploaded" in said


def test_the_job_type_declares_every_setting_that_it_reads(node: str) -> None:
    job, _ = compiled(node)
    read = set(re.findall(r"(?<!\w)settings\.(\w+)", JOB_TYPE.read_text()))

    assert read == {setting["key"] for setting in job["types"]}


@pytest.mark.slurm
def test_the_compiled_command_brings_the_frames_into_ftrack(
    node: str, farm: Farm, out: Path, tmp_path: Path, tell_p95: TellP95
) -> None:
    for number in (1001, 1002, 1003):
        Path(out / f"f.{number:06d}.exr").write_bytes(b"frame %d" % number)
    job, _ = compiled(
        node, ftrack_version_id=farm.sandbox.ftrack.version_id, render_output_path=f"{out}/f.######"
    )
    words = upload_words(job, installed_in(tmp_path, farm))
    # exec runs it without a shell.
    done = subprocess.run(words, env={}, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    wait_stored(farm, [b"frame 1001", b"frame 1002", b"frame 1003"])
    tell_p95("the hook, by Flamenco's exec", timed(words, {}))
    farm.wait_quiet()
