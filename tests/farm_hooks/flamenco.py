"""Compile Flamenco's job type by node, as Flamenco would; it is a Go program, and was not run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from tests.farm_hooks.stand import HOOKS
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


def compiled(**settings: object) -> tuple[dict[str, Any], str]:
    """Compile a job; its tasks and the settings it asks for, and what it printed."""
    given = {
        "frames": "1001-1003", "chunk_size": 2, "render_output_path": "/p/f.######",
        "ftrack_version_id": "", "ftrack_name": "", "blendfile": "/p/a.blend",
        "format": "OPEN_EXR", "image_file_extension": ".exr", **settings,
    }  # fmt: skip
    node = shutil.which("node")
    if node is None:
        skip_loudly("NOTHING ABOUT FLAMENCO WAS TESTED", "no node on PATH")
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
