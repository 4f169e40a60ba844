"""``FARMHAUL_LOG_FORMAT=json``: what a worker logs, as a program reads it."""

from __future__ import annotations

import json

from tests.farm import Farm
from tests.functional.conftest import MakeFarm


def test_each_line_of_a_json_log_is_an_object(make_farm: MakeFarm) -> None:
    farm: Farm = make_farm(env={"FARMHAUL_LOG_FORMAT": "json"})
    farm.wait_located([farm.upload().id])
    farm.sandbox.faults.add("ftrack", "error", "PermissionError", content="not you", times=1)
    failed = farm.upload().id
    farm.wait_state([failed], "failed")
    [worker] = farm.workers
    worker.stop()
    farm.sandbox.faults.clear()

    lines = [json.loads(line) for line in worker.log_text().splitlines() if line]

    name = lines[0]["worker"]
    assert name.startswith("w1@")
    assert all({"time", "level", "logger", "event", "worker"} <= set(line) for line in lines)
    [failure] = [line for line in lines if line["event"] == "upload_failed"]
    assert failure["upload_id"] == failed
    assert failure["stage"] in {"get_put_metadata", "create_component_location"}
    assert failure["level"] == "warning"
    assert len(failure["task_id"]) == 36
    about = [line for line in lines if line.get("task_id") == failure["task_id"]]
    assert {"task_received", "upload_failed", "task_failed"} <= {line["event"] for line in about}
    assert {line["stage"] for line in about} == {failure["stage"]}
    assert any("Warm shutdown" in line["text"] for line in lines)


def test_an_unknown_log_format_is_bad_input(hook: Farm) -> None:
    done = hook.cli("worker", env={"FARMHAUL_LOG_FORMAT": "xml"})

    assert done.returncode == 2
    assert done.stderr == "farmhaul: FARMHAUL_LOG_FORMAT: 'xml' is neither console nor json\n"
