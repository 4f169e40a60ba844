"""Downloads: ``farmhaul fetch`` of a sequence against the official client, near and far."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measure import Usage
from tests.bench.result import TIMES, Result, Target
from tests.bench.scenarios import sequence
from tests.bench.scenarios.files import FAR_S
from tests.bench.scenarios.side_by_side import (
    FARMHAUL,
    OFFICIAL,
    Contestant,
    Runs,
    alternate,
    ratio,
    table,
)
from tests.bench.stand import Stand
from tests.farm import BIN

FRAMES = 240
FRAME_BYTES = 2_000_000
GOALS = {0.0: ">= 3", FAR_S: ">= 20"}


def run(stand: Stand, quick: bool) -> list[Result]:
    """Fetch a sequence that farmhaul has uploaded; the sink returns zeros of its sizes."""
    files = stand.files(FRAMES, FRAME_BYTES, "frames")
    pattern = f"{Path(files[0]).parent}/frames.%05d.exr [0-{FRAMES - 1}]"
    with stand.farm():
        uploaded = stand.output(sequence.command(pattern, f"main {stand.tag()}", "--wait"))
    component_id = json.loads(uploaded.splitlines()[0])["component_id"]
    near = Runs(3, 1) if quick else Runs(5, 3)
    far = Runs(3, 1, share=8 if quick else 2)
    return [_run(stand, component_id, 0.0, near), _run(stand, component_id, FAR_S, far)]


def _run(stand: Stand, component_id: str, far_s: float, runs: Runs) -> Result:
    stand.far(far_s)
    usages = alternate(
        [
            Contestant(FARMHAUL, lambda: _ours(stand, component_id), runs.ours),
            Contestant(OFFICIAL, lambda: _theirs(stand, component_id, runs.share), runs.theirs),
        ]
    )
    stand.far(0)
    where = f"{1000 * far_s:.0f} ms away" if far_s else "near"
    result = table(
        "fetch-far" if far_s else "fetch",
        f"The download of a sequence of {FRAMES} frames of 2 MB, {where}",
        usages,
        (FRAMES, "files/s"),
    )
    result.about = (
        "The seconds of farmhaul are those of the process `farmhaul fetch … --to …`, from start to "
        "exit. The official client reads each frame with the accessor of ftrack.server "
        "(`tests/bench/rivals/official_fetch.py`), without its imports and login."
    )
    goal = GOALS[far_s]
    result.targets = [Target("against the official client", ratio(usages, OFFICIAL), goal, TIMES)]
    if runs.share > 1:
        result.notes = [f"the official client fetches 1 of {runs.share} frames, in the same way"]
    return result


def _ours(stand: Stand, component_id: str) -> Usage:
    with _folder(stand, FRAMES) as folder:
        command = [str(BIN / "farmhaul"), "fetch", component_id, "--to", str(folder)]
        return Usage(stand.cold(*command))


def _theirs(stand: Stand, component_id: str, share: int) -> Usage:
    most = FRAMES // share
    with _folder(stand, most) as folder:
        options = {"component_id": component_id, "folder": str(folder), "most": str(most)}
        usage = stand.rival("official_fetch", [], keep=True, **options)
    usage.seconds *= share
    return usage


@contextmanager
def _folder(stand: Stand, count: int) -> Iterator[Path]:
    folder = stand.folder / "fetched"
    folder.mkdir()
    yield folder
    sizes = [path.stat().st_size for path in folder.iterdir()]
    shutil.rmtree(folder)
    if sizes != [FRAME_BYTES] * count:
        raise RuntimeError(f"{len(sizes)} of {count} frames have arrived")
