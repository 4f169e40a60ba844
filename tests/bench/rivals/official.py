"""ftrack's own Python client, as in its manual: ``session.create_component``.

With the option ``pattern``, the files are one sequence: ``/folder/name.%05d.exr [0-239]``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tests.bench.rivals.job import Job, run


def log_in(job: Job) -> Any:
    with warnings.catch_warnings():
        # It pins an old pyparsing, which uses deprecated modules.
        warnings.simplefilter("ignore", DeprecationWarning)
        import ftrack_api

    return ftrack_api.Session(
        server_url=job.server_url,
        api_user=job.api_user,
        api_key=job.api_key,
        auto_connect_event_hub=False,
        schema_cache_path=False,
        plugin_paths=[],
    )


def prepare(job: Job) -> Callable[[], None]:
    session = log_in(job)
    location = session.query('Location where name is "ftrack.server"').one()

    pattern = job.options.get("pattern")
    named = [(job.tag, pattern)] if pattern else job.named

    def upload() -> None:
        for name, path in named:
            data = {"version_id": job.version_id, "name": name}
            session.create_component(path, data, location=location)

    return upload


if __name__ == "__main__":
    run(prepare)
