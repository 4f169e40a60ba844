"""Writes the job that a kind of hook makes, as pyoutline serializes it for cuebot.

    python outlines.py KIND OUT VERSION_ID HOOK_AS_JSON

Runs in the virtual environment of opencue.lock, with the helper on its path.
"""

import json
import sys

import outline
import outline.cuerun
from farmhaul_outline import Farmhaul
from outline.modules.shell import Shell


def main() -> None:
    kind, out, version_id, enqueue = sys.argv[1:]
    frames = "1001-1003"
    job = outline.Outline("sh010", show="demo", shot="sh010", user="artist", frame_range=frames)
    # Frame 1002 fails where a file "fail" says so.
    check = f"test #IFRAME# != 1002 -o ! -e {out}/fail"
    command = f"{check} && printf 'frame #IFRAME#' >{out}/f.#ZFRAME#.exr"
    render = Shell("render", command=command, range=frames)
    job.add_layer(render)
    hook = Farmhaul(json.loads(enqueue))
    path = f"{out}/f.%04d.exr"
    if kind == "after_each_frame":
        job.add_layer(hook.after_each_frame(render, path, version_id))
    elif kind == "after_layer":
        job.add_layer(hook.after_layer(render, path, version_id, "main"))
    elif kind == "after_job":
        job.add_layer(hook.after_job(path, frames, version_id, "main"))
    print(outline.cuerun.OutlineLauncher(job).serialize(use_pycuerun=False))


main()
