"""Events of located components, from real workers to the stand-in for ftrack's event hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.functional.event_hub import EventHub
from tests.sandbox import Sandbox


@pytest.fixture
def hub(sandbox: Sandbox) -> Iterator[EventHub]:
    with EventHub(sandbox.ftrack_url) as hub:
        yield hub


def _enqueue(farm: Farm, name: str) -> dict[str, str]:
    path = farm.make_file(name, 1000)
    [upload] = farm.enqueue(path, "--version-id", farm.sandbox.ftrack.version_id)
    return upload


def test_the_hub_gets_each_located_component_but_delays_none(
    make_farm: MakeFarm, hub: EventHub
) -> None:
    farm = make_farm(env={"FARMHAUL_FTRACK_EVENTS": "on", "FTRACK_SERVER": hub.url})
    first = _enqueue(farm, "f.1001.exr")
    farm.wait_located([first["upload_id"]])
    wait_until(lambda: hub.component_ids == [first["component_id"]])

    hub.away = True
    hub.hang_up()
    second = _enqueue(farm, "f.1002.exr")
    farm.wait_located([second["upload_id"]])
    wait_until(lambda: farm.redis.hget("farmhaul:totals", "events_dropped") == "1")
    logs = "".join(worker.log_text() for worker in farm.workers)
    assert "events_away the event hub answered the handshake with 503" in logs
    assert hub.handshakes[0]["ftrack-api-key"] not in logs


def test_without_the_setting_the_hub_is_never_asked(make_farm: MakeFarm, hub: EventHub) -> None:
    farm = make_farm(env={"FTRACK_SERVER": hub.url})
    farm.wait_located([_enqueue(farm, "f.1001.exr")["upload_id"]])
    assert not hub.handshakes
    assert not farm.redis.hexists("farmhaul:totals", "events_dropped")


def test_of_a_sequence_rendered_again_only_new_frames_are_told(
    make_farm: MakeFarm, hub: EventHub
) -> None:
    # One process: its events come in order.
    options = ("--concurrency=1", "--without-gossip", "--without-mingle")
    env = {"FARMHAUL_FTRACK_EVENTS": "on", "FTRACK_SERVER": hub.url}
    farm = make_farm(workers=1, options=options, env=env)
    folder = farm.make_file("f.1001.exr", 1000).parent
    for number in range(1002, 1013):
        farm.make_file(f"f.{number}.exr", 1000, folder.name)
    what = (folder / "f.%04d.exr", "--version-id", farm.sandbox.ftrack.version_id, "--wait")
    [upload] = farm.enqueue(*what)
    wait_until(lambda: len(set(hub.component_ids)) == 13)
    before = set(hub.component_ids)
    between = _enqueue(farm, "between.exr")  # what is told twice is told before this
    wait_until(lambda: between["component_id"] in hub.component_ids)
    farm.make_file("f.1002.exr", 1500, folder.name)

    farm.enqueue(*what)
    last = _enqueue(farm, "last.exr")

    wait_until(lambda: last["component_id"] in hub.component_ids)
    ids = hub.component_ids
    told = ids[ids.index(between["component_id"]) + 1 : ids.index(last["component_id"])]
    files = farm.sandbox.ftrack.entities("FileComponent")
    [frame] = (one["id"] for one in files if one["size"] == 1500)
    assert set(told) == {frame, upload["component_id"]}
    assert set(told) < before
