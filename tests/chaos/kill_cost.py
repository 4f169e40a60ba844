"""How much is sent twice if workers are killed: ``python -m tests.chaos.kill_cost``.

Two workers upload one large file at a limit, and the one that is busy with it is killed every 20 s
and started again. It prints how many bytes came to the store, in whole or broken PUTs, as a
multiple of the file; with more than 1.1 it exits with 1.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.chaos.bad_nodes import OPTIONS
from tests.chaos.scenes import busy_worker
from tests.farm import Farm, Upload
from tests.sandbox import Sandbox

MIB = 1 << 20
MOST = 1.1


def main() -> None:
    """Measure once, and print a line for each kill and the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.kill_cost", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file")
    parser.add_argument("--limit", default="5M", help="FARMHAUL_BANDWIDTH")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between kills")
    options = parser.parse_args()
    env = {"FARMHAUL_BANDWIDTH": options.limit}
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.start(Path(folder) / "sandbox") as sandbox,
        Farm(sandbox, Path(folder) / "workers", 2, options=OPTIONS, env=env) as farm,
    ):
        path = farm.make_file("long.mov", b"\x07\x08" * (options.mib * MIB // 2))
        size = path.stat().st_size
        began = time.monotonic()
        upload = farm.upload("--version-id", sandbox.ftrack.version_id, path=path)
        kills = kill_until_located(farm, upload, options.every)
        took_s = time.monotonic() - began
        came = sum(put["came_bytes"] for put in sandbox.store.puts(upload.component_id))
    share = came / size
    print(
        f"{size} bytes, {took_s:.0f} s, {kills} kills: sent {came} bytes, {share:.3f} of the file"
    )
    raise SystemExit(share > MOST)


def kill_until_located(farm: Farm, upload: Upload, every_s: float) -> int:
    """Kill the busy worker again and again until the upload is located; return how often."""
    kills, next_at = 0, time.monotonic() + every_s
    while farm.states([upload.id]) != ["located"]:
        if farm.states([upload.id]) == ["failed"]:
            raise SystemExit(f"failed: {farm.record(upload.id).get('error')}")
        time.sleep(0.2)
        if time.monotonic() >= next_at and farm.states([upload.id]) == ["active"]:
            busy_worker(farm, upload).kill("group")
            farm.start()
            kills, next_at = kills + 1, next_at + every_s
            print(f"kill {kills}: {farm.record(upload.id).get('sent')} bytes", flush=True)
    return kills


if __name__ == "__main__":
    main()
