"""A worker reads the state of encoding jobs from ftrack."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.sandbox import Sandbox
from workers.steps.encoding_jobs import Encodings


def test_one_limited_call_reads_the_states_of_all_encodings(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**sandbox.env, "FARMHAUL_API_RATE": "100"}.items():
        monkeypatch.setenv(name, value)
    status = {"u1": "done", "u2": "failed"}
    jobs = {
        upload_id: sandbox.ftrack.create("Job", status=state) for upload_id, state in status.items()
    }
    with sandbox.redis.client() as client:
        for upload_id, job in jobs.items():
            fields = {"state": "located", "jobs": job["id"]}
            client.hset(f"farmhaul:upload:{upload_id}", mapping=fields)
            client.zadd("farmhaul:jobs", {upload_id: 0})
        Encodings(SimpleNamespace(hostname="w1@node7", app=None)).act()
        noted = {key: client.hget(f"farmhaul:upload:{key}", "job_state") for key in jobs}
        assert noted == status
        assert not client.exists("farmhaul:jobs")
        assert client.exists("farmhaul:bucket:api_rate")
    assert len(sandbox.ftrack.calls("query")) == 1
