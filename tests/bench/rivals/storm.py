"""farmhaul called by a program: one upload enqueued after the other, as hooks of one host do.

The steps of ``farmhaul enqueue``, without the start of a process for each; then it waits for
all of them as ``--wait`` does. With the option ``one_by_one`` each is located before the next
is enqueued, and it is the sink that is asked, so that Redis has no more to do than it must.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.bench.rivals.job import Job, run


def prepare(job: Job) -> Callable[[], None]:
    import requests as http

    from tasks.config.hook_settings import HookSettings
    from tasks.config.redis_client import worker_redis
    from tasks.config.sealing import message_codec
    from tasks.config.settings import Settings
    from tasks.intake.build import Options, build_requests
    from tasks.intake.deliver import deliver
    from tasks.intake.exit_codes import say
    from tasks.intake.manifest import Entry
    from tasks.records.status import Status
    from workers.cli.wait import wait_for

    settings = Settings.from_environment()
    hook_settings = HookSettings.from_environment()
    session = http.Session()

    def located() -> int:
        return int(session.get(f"{job.server_url}/-/stats").json()["located"])

    def upload() -> None:
        ids: list[str] = []
        entries: list[bytes] = []
        for name, path in job.named:
            entry = Entry(path, version_id=job.version_id, name=name)
            requests = build_requests([entry], hook_settings, Options())
            entries += deliver(requests, hook_settings, say).entries
            ids.append(requests[0].upload_id)
            while job.options.get("one_by_one") and located() < len(ids):
                time.sleep(0.002)
        status = Status(worker_redis(settings), message_codec(settings))
        ended = wait_for(status, ids, entries, 300)
        assert set(ended) == {("located", "")}

    return upload


if __name__ == "__main__":
    run(prepare)
