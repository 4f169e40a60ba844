"""MD5 and the PUT through ``requests``, one file after the other, and nothing else.

Nobody signs, records or registers anything. The CPU time is the floor under a file in a manifest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.bench.rivals.job import Job, run


def prepare(job: Job) -> Callable[[], None]:
    import requests

    store = requests.Session()

    def upload() -> None:
        for name, path in job.named:
            data = Path(path).read_bytes()
            md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
            url = f"{job.store_url}/alone/{name}"
            store.put(url, data=data, headers={"Content-MD5": md5}).raise_for_status()

    return upload


if __name__ == "__main__":
    run(prepare)
