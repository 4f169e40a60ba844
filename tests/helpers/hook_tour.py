"""What a hook does, from its environment to signed entries, with the Python that runs this.

    python -I -S hook_tour.py CODE FOLDER

CODE has what a hook imports, and FOLDER files to upload. Prints the results as JSON. This file
itself runs on Python 3.8.
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, sys.argv[1])
FOLDER = sys.argv[2]

from tasks.config.hook_settings import HookSettings  # noqa: E402
from tasks.intake.bodies import make_bodies  # noqa: E402
from tasks.intake.build import Options, build_requests  # noqa: E402
from tasks.intake.envelope import open_entry, sign  # noqa: E402
from tasks.intake.errors import BadInputError  # noqa: E402
from tasks.intake.from_wire import from_wire  # noqa: E402
from tasks.intake.manifest import Entry, read_manifest  # noqa: E402

VERSION = "9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f"
KEY = "A" * 43 + "="
SETTINGS = HookSettings.from_environment(
    {
        "FARMHAUL_REDIS_URL": "sentinel://:p%2Fw@one:26379,two/farm/3",
        "FARMHAUL_STORAGE_ROOTS": FOLDER,
        "FARMHAUL_PATH_MAP": "P:\\=" + FOLDER,
        "FARMHAUL_SECRET_KEY": KEY,
    }
)
MANIFEST = [
    {"path": FOLDER + "/f.%04d.exr [1-2]", "version_id": VERSION, "publish": "shot"},
    {"path": "P:\\main.jpg", "version_id": VERSION, "publish": "shot", "thumbnail": True},
    {
        "path": FOLDER + "/main.mp4",
        "version_id": VERSION,
        "reviewable": True,
        "frame_range": "1001-1010",
        "fps": "24000/1001",
        "resolution": "1920x1080",
        "metadata": {"ünï": "🎬"},
    },
    {"path": FOLDER + "/main.mov", "component_id": VERSION, "priority": "urgent"},
]
BAD = [
    Entry(FOLDER + "/missing.mov", VERSION),
    Entry(FOLDER + "/f.%04d.exr [1-9]", version_id=VERSION),
    Entry(FOLDER + "/main.mov", "nonsense"),
    Entry(FOLDER + "/main\n.mov", VERSION),
    Entry("/etc/hostname", VERSION),
    Entry(FOLDER + "/main.mp4", version_id=VERSION, reviewable=True, fps="24"),
    Entry(FOLDER + "/other", version_id=VERSION),
]


def refusal(entry: Entry) -> str:
    try:
        build_requests([entry], SETTINGS, Options())
    except BadInputError as error:
        return str(error)
    return ""


def main() -> None:
    os.environ["PATH"] = ""  # without ffprobe
    entries = [*read_manifest(map(json.dumps, MANIFEST)), Entry(FOLDER, version_id=VERSION)]
    requests = build_requests(entries, SETTINGS, Options(node_local=True))
    without = [Entry(FOLDER + "/f.#.exr 1-100x3", version_id=VERSION)]
    requests += build_requests(without, SETTINGS, Options(stat=False))
    sent = []
    for body in make_bodies(requests, 1795.5, "node7"):
        sent += open_entry(sign(body, SETTINGS.hook_keys), SETTINGS.hook_keys).requests
    results = {
        "settings": repr(SETTINGS),
        "keys": [key.hex() for key in SETTINGS.hook_keys],
        "records": [request.to_record() for request in requests],
        "sent": [request.to_record() for request in map(from_wire, sent)],
        "refusals": [refusal(entry) for entry in BAD],
    }
    print(json.dumps(results))


main()
