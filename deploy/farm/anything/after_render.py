"""Runs a render and, if it succeeds, queues its files. The exit code is the render's.

python3 after_render.py RENDER-COMMAND... -- ENQUEUE-ARGUMENTS...
python3 after_render.py blender -b shot.blend -a -- '/mnt/prod/f.####.exr [1-240]' --version-id UUID

What follows the last -- is for farmhaul: the render may have a -- of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

HOOK = "/opt/farmhaul-hook/farmhaul-hook.pyz"
HOOK_WINDOWS = r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz"


def main(arguments: list[str]) -> int:
    end = len(arguments)
    if "--" in arguments:
        end -= 1 + arguments[::-1].index("--")
    render, upload = arguments[:end], arguments[end + 1 :]
    if not render:
        print("after_render.py: write RENDER-COMMAND -- ENQUEUE-ARGUMENTS", file=sys.stderr)
        return 2
    try:
        code = subprocess.call(render)
    except OSError as error:
        print(f"after_render.py: {render[0]}: {error.strerror}", file=sys.stderr)
        return 127
    if code:
        # A render that a signal ended has a negative code; a shell shows 128 and the signal.
        return code if code > 0 else 128 - code
    if not upload:
        # Such as a variable of the job that is empty. The render is worth more than its upload.
        print("farmhaul: nothing is queued: no file follows -- after the render", file=sys.stderr)
        return 0
    hook = HOOK_WINDOWS if os.name == "nt" else HOOK
    code = subprocess.call([sys.executable, "-I", "-S", "-X", "utf8", hook, "enqueue", *upload])
    if code:
        print(f"farmhaul: the upload was not queued (exit code {code})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
