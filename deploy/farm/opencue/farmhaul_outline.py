"""Layers for OpenCue's pyoutline that queue the files of a job for ftrack.

Launch with ``outline.cuerun.launch(ol, use_pycuerun=False)``, as CueSubmit does: cuebot then gets
the commands unchanged, and a frame does not need the outline's Python.

    render = outline.modules.shell.Shell("render", command=[...], range="1001-1240")
    ol.add_layer(render)
    farmhaul = Farmhaul()
    ol.add_layer(farmhaul.after_layer(render, "/mnt/prod/f.%04d.exr", version_id, name="main"))
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from FileSequence import FrameSet
from outline.depend import DependType
from outline.layer import OutlinePostCommand
from outline.modules.shell import Shell, ShellCommand

#: A frame that only queues an upload needs little, and must not block a render for long.
_SMALL: dict[str, Any] = {"cores": 0.1, "memory": "256m", "timeout": 2, "threadable": False}

#: The longest path that farmhaul takes, in characters.
MAX_PATH = 4096

#: Python and the hook on all hosts. -I: the environment of a job may break another Python.
HOOK = ("/usr/bin/python3", "-I", "-S", "-X", "utf8", "/opt/farmhaul-hook/farmhaul-hook.pyz")


class Farmhaul:
    """Makes the layers. *hook* is the command; its settings are in hook.env on the hosts."""

    def __init__(self, hook: Sequence[str] = HOOK) -> None:
        self._hook = hook

    def after_each_frame(self, render: Any, path: str, version_id: str = "", **target: str) -> Any:
        """Return a layer that queues each frame when it is done, as a component of its own.

        In place of *version_id*, *target* may have options of farmhaul enqueue, such as context,
        asset and asset_type. *path* contains ``%04d`` for the frame number.
        """
        if "%04d" not in path:
            raise ValueError(f"{path} has no %04d, so all frames would be the same file")
        if target.get("name") or target.get("component_id"):
            raise ValueError(f"all frames of {path} would be one component: leave out its name")
        # OpenCue always pads frame numbers to four digits.
        file = path.replace("%04d", "#ZFRAME#")
        layer = Shell(
            f"{render.get_name()}_farmhaul",
            command=self._line(file, version_id, **target),
            range=render.get_frame_range(),
            chunk=1,
            **_SMALL,
        )
        layer.depend_on(render, DependType.FrameByFrame)
        return layer

    def after_layer(
        self, render: Any, path: str, version_id: str = "", name: str = "", **target: str
    ) -> Any:
        """Return a layer that queues all frames as one sequence, when the last one is done.

        Without a *name*, the component is named after the files.
        """
        sequence = _sequence(path, render.get_frame_range())
        layer = ShellCommand(
            f"{render.get_name()}_farmhaul",
            command=self._line(sequence, version_id, name, **target),
            **_SMALL,
        )
        layer.depend_on(render, DependType.LayerOnLayer)
        return layer

    def after_job(
        self, path: str, frames: str, version_id: str = "", name: str = "", **target: str
    ) -> Any:
        """Return a post job that queues a sequence when the job has ended.

        It also runs after a job that failed or was killed. Frames are missing then: farmhaul names
        them and queues nothing.
        """
        command = self._line(_sequence(path, frames), version_id, name, **target)
        return OutlinePostCommand("farmhaul", command=command, **_SMALL)

    def _line(self, path: str, version_id: str, name: str = "", **target: str) -> str:
        if not (version_id or target.get("context")):
            raise ValueError(f"no ftrack id for {path}: give one, or leave out the layer")
        words = [*self._hook, "enqueue"]
        for key, value in {"version_id": version_id, "name": name, **target}.items():
            words += [f"--{key.replace('_', '-')}", value] if value else []
        words += ["--", path]  # a path is never an option
        # cuebot takes one string, which a shell on the host runs.
        return shlex.join(words)


def _sequence(path: str, frames: str) -> str:
    """Return a sequence as farmhaul reads it; OpenCue's own library reads the frames.

    Raises:
        ValueError: farmhaul would refuse the frames, after they are rendered.
    """
    numbers = set(FrameSet(frames or "").getAll())
    firsts = sorted(number for number in numbers if number - 1 not in numbers)
    lasts = sorted(number for number in numbers if number + 1 not in numbers)
    pairs = zip(firsts, lasts)  # noqa: B905 Python 3.7
    ranges = ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in pairs)
    sequence = f"{path} [{ranges}]"
    if firsts[0] < 0 or len(sequence) > MAX_PATH:
        raise ValueError(f"farmhaul refuses the frames of {sequence[:200]}: negative, or too many")
    return sequence
