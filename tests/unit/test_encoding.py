"""A worker asks ftrack how encodings fare."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.sandbox import Sandbox
from workers.steps.encoding_jobs import Encodings


def test_an_encoding_that_failed_is_noted_by_one_call_that_counts_against_the_limit(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**sandbox.env, "FARMHAUL_API_RATE": "100"}.items():
        monkeypatch.setenv(name, value)
    status = {"u1": "done", "u2": "failed"}
    jobs = {one: sandbox.ftrack.create("Job", status=state) for one, state in status.items()}
    with sandbox.redis.client() as client:
        for one, job in jobs.items():
            client.hset(f"farmhaul:upload:{one}", mapping={"state": "located", "jobs": job["id"]})
            client.zadd("farmhaul:jobs", {one: 0})
        Encodings(SimpleNamespace(hostname="w1@node7", app=None)).act()
        told = {one: client.hget(f"farmhaul:upload:{one}", "job_state") for one in jobs}
        assert told == status
        assert not client.exists("farmhaul:jobs")
        assert client.exists("farmhaul:bucket:api_calls")
    assert len(sandbox.ftrack.calls("query")) == 1
