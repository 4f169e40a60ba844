"""ftrack's own Python client fetches a sequence: the accessor reads each member, file by file.

It asks for all members and for their places with one query each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench.rivals.job import Job, run
from tests.bench.rivals.official import log_in


def prepare(job: Job) -> Callable[[], None]:
    session = log_in(job)
    location = session.query('Location where name is "ftrack.server"').one()
    folder = Path(job.options["folder"])
    most = int(job.options["most"])

    def fetch() -> None:
        found = session.query(
            "select id, name from FileComponent "
            f'where container_id is "{job.options["component_id"]}"'
        ).all()[:most]
        places = location.get_resource_identifiers(found)
        for component, place in zip(found, places, strict=True):
            source = location.accessor.open(place, "rb")
            (folder / f"frame.{component['name']}.exr").write_bytes(source.read())
            source.close()

    return fetch


if __name__ == "__main__":
    run(prepare)
