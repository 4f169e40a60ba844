"""The sandbox follows the rules of the servers it stands in for, and plays faults on request."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from tests.farm import wait_until
from tests.sandbox import RefusedError, Sandbox, schemas, seed
from tests.sandbox.config import FrontConfig
from tests.sandbox.official import official_client
from tests.sandbox.process import free_ports, python_module

MIB = 2**20
ODD_NAME = 'a "quoted" 100%41 ünï 🎬 \\ name.exr'


class Api:
    """Plain HTTP, as farmhaul speaks it: through the front, which plays the faults."""

    def __init__(
        self, sandbox: Sandbox, user: str = seed.API_USER, key: str = seed.API_KEY
    ) -> None:
        self.sandbox = sandbox
        self.http = requests.Session()
        self.headers = {"ftrack-user": user, "ftrack-api-key": key}

    def post(self, *operations: dict[str, Any]) -> requests.Response:
        url = f"{self.sandbox.env['FTRACK_SERVER']}/api"
        return self.http.post(url, json=list(operations), headers=self.headers, timeout=20)

    def call(self, *operations: dict[str, Any]) -> Any:
        return self.post(*operations).json()

    def sign(self, content: bytes, component_id: str = "", name: str = "main.exr") -> Any:
        answer = self.call(
            {
                "action": "get_upload_metadata",
                "component_id": component_id or str(uuid.uuid4()),
                "file_name": name,
                "file_size": len(content),
                "checksum": md5(content),
            }
        )
        return answer[0] if isinstance(answer, list) else answer

    def put(self, signed: Any, content: bytes, **headers: str) -> requests.Response:
        encoded = {k: v.encode() for k, v in {**signed["headers"], **headers}.items()}
        return self.http.put(signed["url"], data=content, headers=encoded, timeout=20)

    def upload(self, content: bytes, component_id: str = "", name: str = "main.exr") -> str:
        signed = self.sign(content, component_id, name)
        response = self.put(signed, content)
        assert response.status_code == 200, response.text
        return str(signed["component_id"])


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def create(entity_type: str, **data: Any) -> dict[str, Any]:
    return {"action": "create", "entity_type": entity_type, "entity_data": data}


def located(component_id: str) -> dict[str, Any]:
    return create(
        "ComponentLocation",
        component_id=component_id,
        location_id=seed.SERVER_LOCATION_ID,
        resource_identifier=component_id,
    )


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    api = Api(sandbox)
    with api.http:
        yield api


# The store


def test_a_signed_put_stores_the_bytes(api: Api) -> None:
    component_id = api.upload(b"pixels")
    assert api.sandbox.store.read(component_id) == b"pixels"
    assert api.sandbox.store.md5(component_id) == hashlib.md5(b"pixels").hexdigest()
    [put] = api.sandbox.store.puts(component_id)
    assert (put["status"], put["body_bytes"]) == (200, 6)
    assert "ftrack-api-key" not in put["headers"]


def test_other_bytes_than_the_checksum_says_are_refused(api: Api) -> None:
    response = api.put(api.sign(b"pixels"), b"pixelz")
    assert response.status_code == 400
    assert "BadDigest" in response.text


@pytest.mark.parametrize("header", ["Content-Type", "Content-Disposition", "Content-MD5"])
def test_a_signed_header_must_be_sent_as_it_is(api: Api, header: str) -> None:
    response = api.put(api.sign(b"pixels"), b"pixels", **{header: "changed"})
    assert response.status_code == 403
    assert "SignatureDoesNotMatch" in response.text


def test_a_url_that_has_run_out_is_refused(api: Api) -> None:
    api.sandbox.faults.add("ftrack", "url_lifetime_s", 0)
    response = api.put(api.sign(b"pixels"), b"pixels")
    assert response.status_code == 403
    assert "Request has expired" in response.text


@pytest.mark.parametrize("name", [ODD_NAME, "plain.exr", "日本.exr", "a;b=c,d.exr", "no type"])
def test_odd_file_names_are_signed_and_stored(api: Api, name: str) -> None:
    component_id = api.upload(b"pixels", name=name)
    assert api.sandbox.store.read(component_id) == b"pixels"


def test_a_chunked_body_is_refused_as_by_s3(api: Api) -> None:
    signed = api.sign(b"pixels")
    response = api.http.put(
        signed["url"], data=iter([b"pix", b"els"]), headers=signed["headers"], timeout=20
    )
    assert response.status_code == 501


def test_an_empty_file_can_be_stored(api: Api) -> None:
    component_id = api.upload(b"")
    assert api.sandbox.store.read(component_id) == b""


def test_parts_become_one_object_and_a_second_completion_is_refused(api: Api) -> None:
    parts = [b"a" * 5 * MIB, b"b" * 5 * MIB, b"c"]
    component_id = str(uuid.uuid4())
    sign = {"action": "get_upload_metadata", "component_id": component_id, "parts": 3}
    [signed] = api.call({**sign, "file_name": "big.mov", "file_size": 10 * MIB + 1})
    assert [part["part_number"] for part in signed["urls"]] == [1, 2, 3]
    tags = [
        api.http.put(url["signed_url"], data=part, timeout=20).headers["ETag"].strip('"')
        for url, part in zip(signed["urls"], parts, strict=True)
    ]
    assert tags == [hashlib.md5(part).hexdigest() for part in parts]
    complete = {
        "action": "complete_multipart_upload",
        "component_id": component_id,
        "upload_id": signed["upload_id"],
        "parts": [{"part_number": n, "e_tag": tag} for n, tag in enumerate(tags, start=1)],
    }
    assert isinstance(api.call(complete), list)
    assert api.sandbox.store.read(component_id) == b"".join(parts)
    key = {"id": component_id, "username": seed.API_USER, "apiKey": seed.API_KEY}
    server = api.sandbox.env["FTRACK_SERVER"]
    with api.http.get(f"{server}/component/get", params=key, stream=True, timeout=20) as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="big.mov"'
    assert "NoSuchUpload" in api.call(complete)["content"]
    assert [put["part_number"] for put in api.sandbox.store.puts(component_id)] == [1, 2, 3]


def test_a_part_with_other_bytes_than_its_digest_is_refused(api: Api) -> None:
    sign = {"action": "get_upload_metadata", "component_id": str(uuid.uuid4()), "parts": 1}
    [signed] = api.call({**sign, "file_name": "big.mov", "file_size": 1})
    headers = {"Content-MD5": md5(b"a")}
    url = signed["urls"][0]["signed_url"]
    assert api.http.put(url, data=b"b", headers=headers, timeout=20).status_code == 400
    assert api.http.put(url, data=b"a", headers=headers, timeout=20).status_code == 200


# ftrack


def test_wrong_credentials_are_reported_in_a_200(sandbox: Sandbox) -> None:
    wrong = Api(sandbox, key="wrong")
    with wrong.http:
        response = wrong.post({"action": "query_server_information"})
    assert response.status_code == 200
    assert response.json()["error_code"] == "api_credentials_invalid"


def test_a_guest_may_read_and_not_write(sandbox: Sandbox) -> None:
    guest = Api(sandbox, seed.GUEST_USER, seed.GUEST_KEY)
    with guest.http:
        assert isinstance(guest.call({"action": "query", "expression": "Location"}), list)
        assert guest.call(create("Asset", name="x"))["exception"] == "PermissionError"


def test_a_query_with_an_empty_list_is_refused(api: Api) -> None:
    refused = api.call({"action": "query", "expression": "Location where id in ()"})
    assert refused["exception"] == "ParseError"


def test_a_call_is_one_transaction(api: Api) -> None:
    component_id = str(uuid.uuid4())
    first = create("FileComponent", id=component_id, name="main", version_id=seed.VERSION_ID)
    refused = api.call(first, located(component_id), located(str(uuid.uuid4())))
    assert refused["exception"] == "IntegrityError"
    assert api.sandbox.ftrack.entities("FileComponent") == []
    assert api.sandbox.ftrack.entities("ComponentLocation") == []


def test_an_id_and_a_location_can_exist_once(api: Api) -> None:
    component_id = api.sandbox.ftrack.add_component("main.exr")
    again = api.call(create("SequenceComponent", id=component_id, name="main"))
    assert again["exception"] == "IntegrityError"
    assert "duplicate key" in again["content"]
    assert isinstance(api.call(located(component_id)), list)
    assert "duplicate key" in api.call(located(component_id))["content"]
    assert len(api.sandbox.ftrack.locations(component_id)) == 1


@pytest.mark.parametrize(
    ("entity_type", "data"),
    [
        ("FileComponent", {"name": "main", "version_id": str(uuid.uuid4())}),
        ("FileComponent", {"name": "main", "colour": "red"}),
        ("FileComponent", {"name": "main", "size": "large"}),
        ("SequenceComponent", {"name": "main", "system_type": "sequence"}),
        ("Spaceship", {"name": "main"}),
    ],
)
def test_an_invalid_entity_is_refused(
    sandbox: Sandbox, entity_type: str, data: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError):
        sandbox.ftrack.create(entity_type, **data)


def test_strict_clients_get_status_codes(api: Api) -> None:
    api.headers["Ftrack-Api-Options"] = "strict:1;denormalize:1"
    assert api.post(create("FileComponent", colour="red")).status_code == 422
    api.headers["ftrack-api-key"] = "wrong"
    assert api.post().status_code == 401


def test_signing_for_a_new_component_needs_a_name_and_a_size(api: Api) -> None:
    sign = {"action": "get_upload_metadata", "component_id": str(uuid.uuid4())}
    assert api.call(sign)["exception"] == "ValidationError"
    sign["component_id"] = api.sandbox.ftrack.add_component("main.exr")
    assert isinstance(api.call(sign), list)


def test_encoding_needs_the_component_in_the_server_location(api: Api) -> None:
    component_id = api.sandbox.ftrack.add_component("main.mov")
    encode = {"action": "encode_media", "component_id": component_id}
    assert api.call(encode)["exception"] == "ValidationError"
    job_id = api.call(located(component_id), encode)[1]["job_id"]
    status = {"action": "query", "expression": f"select status from Job where id is {job_id}"}
    assert api.call(status)[0]["data"][0]["status"] == "queued"
    wait_until(lambda: api.call(status)[0]["data"][0]["status"] == "done", 5)


@pytest.mark.parametrize("keep", [True, False])
def test_an_encoding_names_at_once_what_it_makes(api: Api, keep: bool) -> None:
    path = api.sandbox.storage / "take.mov"
    path.write_bytes(b"take")
    with official_client(api.sandbox) as session:
        server = session.get("Location", seed.SERVER_LOCATION_ID)
        component_id = session.create_component(str(path), location=server)["id"]
        component = session.get("FileComponent", component_id)
        job = session.encode_media(component, version_id=seed.VERSION_ID, keep_original=keep)
        about = json.loads(job["data"])
        assert (about["source_component_id"], about["keep_original"]) == (component_id, keep)
        [made] = about["output"]
        encoded = session.get("FileComponent", made["component_id"])
        assert (encoded["name"], encoded["version_id"]) == ("ftrackreview-mp4", seed.VERSION_ID)
    query = {"action": "query", "expression": f"select status from Job where id is {job['id']}"}
    wait_until(lambda: api.call(query)[0]["data"][0]["status"] == "done")
    assert bool(api.sandbox.ftrack.get("FileComponent", component_id)) is keep
    assert api.sandbox.store.exists(component_id) is keep


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('select name from Component where name is "b"', ["b"]),
        ('select name from FileComponent where name in ("a", "c")', ["a", "c"]),
        ('Component where name like "%A%" or (name is "b" and size is 2)', ["a", "b"]),
        ("select name from Component where size > 1 order by name offset 1 limit 1", ["c"]),
        ('select name from Component where version.asset.name is "render" limit 2', ["a", "b"]),
        ('select name from Component where not name is_not "a"', ["a"]),
        ("select name from Component where container_id is none and size < 2", ["a"]),
        (f"select name from Component where version is {seed.VERSION_ID} limit 1", ["a"]),
        ("select name from Component where component_locations.id is none", []),
    ],
)
def test_queries(sandbox: Sandbox, expression: str, names: list[str]) -> None:
    for size, name in enumerate("abc", start=1):
        sandbox.ftrack.add_component(name, size=size)
    if not expression.startswith("select"):
        expression = f"select name from {expression}"
    [answer] = sandbox.ftrack.api({"action": "query", "expression": expression})
    assert [entity["name"] for entity in answer["data"]] == names


@pytest.mark.parametrize("expression", ["select a from", "Ship", "Task where x is 1", 'Task "'])
def test_an_invalid_query_is_refused(sandbox: Sandbox, expression: str) -> None:
    with pytest.raises(RefusedError, match="ParseError"):
        sandbox.ftrack.api({"action": "query", "expression": expression})


def test_deleting_a_version_takes_its_components_along(sandbox: Sandbox) -> None:
    component_id = sandbox.ftrack.add_component("main.exr")
    sandbox.ftrack.api(located(component_id))
    sandbox.ftrack.delete("AssetVersion", sandbox.ftrack.version_id)
    assert sandbox.ftrack.entities("Component") == []
    assert sandbox.ftrack.locations(component_id) == []


def test_calls_are_recorded_in_the_journal(api: Api) -> None:
    api.sandbox.ftrack.add_component("main.exr")  # a call of the test itself is not recorded
    api.call({"action": "query", "expression": "Location"}, create("Asset", name="x"))
    [call] = api.sandbox.ftrack.calls("create")
    assert call["actions"] == ["query", "create"]
    assert call["status"] == 200
    assert api.sandbox.ftrack.count_calls() == 1


# The official client


def test_the_official_client_stores_a_file_and_reads_it_back(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    frame = tmp_path / "main.exr"
    frame.write_bytes(b"pixels" * 1000)
    with official_client(sandbox) as session:
        location = session.get("Location", seed.SERVER_LOCATION_ID)
        version = session.get("AssetVersion", seed.VERSION_ID)
        component = version.create_component(str(frame), {"name": "beauty"}, location=location)
        session.commit()
        component_id = component["id"]
    assert sandbox.store.read(component_id) == frame.read_bytes()
    with official_client(sandbox) as session:
        component = session.get("FileComponent", component_id)
        assert component["version"]["asset"]["parent"]["name"] == "sh010"
        location = session.pick_location(component)
        assert location["name"] == "ftrack.server"
        identifier = location.get_resource_identifier(component)
        with contextlib.closing(location.accessor.open(identifier)) as stored:
            assert stored.read() == frame.read_bytes()


def test_the_official_client_sees_what_was_uploaded_by_plain_calls(
    api: Api, tmp_path: Path
) -> None:
    component_id = api.upload(b"pixels", api.sandbox.ftrack.add_component("main.exr"))
    with official_client(api.sandbox) as session:
        component = session.get("Component", component_id)
        assert component.get_availability()[seed.SERVER_LOCATION_ID] == 0
        api.call(located(component_id))
        session.populate(component, "component_locations.location_id")
        assert component.get_availability()[seed.SERVER_LOCATION_ID] == 100


def test_the_official_client_knows_sequences_metadata_and_thumbnails(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    for number in (1, 2):
        (tmp_path / f"f.{number:04}.exr").write_bytes(b"%d" % number)
    with official_client(sandbox) as session:
        location = session.get("Location", seed.SERVER_LOCATION_ID)
        version = session.get("AssetVersion", seed.VERSION_ID)
        sequence = version.create_component(
            f"{tmp_path}/f.%04d.exr [1-2]", {"name": "seq"}, location=location
        )
        sequence["metadata"]["ftr_meta"] = "{}"
        version.create_thumbnail(str(tmp_path / "f.0001.exr"))
        session.commit()
        sequence_id = sequence["id"]
    with official_client(sandbox) as session:
        sequence = session.get("SequenceComponent", sequence_id)
        assert {member["name"] for member in sequence["members"]} == {"0001", "0002"}
        assert sequence.get_availability()[seed.SERVER_LOCATION_ID] == 100
        assert sequence["metadata"]["ftr_meta"] == "{}"
        assert session.get("AssetVersion", seed.VERSION_ID)["thumbnail"]["name"] == "thumbnail"


def test_the_official_client_is_refused_with_wrong_credentials(sandbox: Sandbox) -> None:
    with pytest.raises(Exception, match="InvalidCredentialsError"):
        official_client(sandbox, api_key="wrong")


def test_the_official_client_starts_with_our_own_few_schemas(tmp_path: Path) -> None:
    frame = tmp_path / "main.exr"
    frame.write_bytes(b"pixels")
    options: dict[str, Any] = {"schemas": schemas.OWN_SCHEMAS, "store_proxy": False}
    with Sandbox.start(tmp_path / "sandbox", **options) as small, official_client(small) as session:
        version = session.get("AssetVersion", seed.VERSION_ID)
        location = session.get("Location", seed.SERVER_LOCATION_ID)
        component = version.create_component(str(frame), location=location)
        session.commit()
        assert component.get_availability()[seed.SERVER_LOCATION_ID] == 100
        assert session.query("Shot").one()["children"][0]["name"] == "lighting"
        assert small.store.read(component["id"]) == b"pixels"


# Faults


def test_a_status_strikes_as_often_as_asked(api: Api) -> None:
    number = api.sandbox.faults.add(
        "ftrack", "status", 429, times=2, headers={"Retry-After": "7"}, body="<p>busy</p>"
    )
    first, second, third = (api.post() for _ in range(3))
    assert (first.status_code, second.status_code, third.status_code) == (429, 429, 200)
    assert first.headers["Retry-After"] == "7"
    assert first.headers["Content-Type"] == "text/html"
    assert api.sandbox.faults.struck(number) == 2


def test_skip_and_probability_choose_which_requests_are_struck(api: Api) -> None:
    api.sandbox.faults.add("ftrack", "status", 500, skip=1, times=1)
    assert [api.post().status_code for _ in range(3)] == [200, 500, 200]
    api.sandbox.faults.clear()

    def pattern() -> list[int]:
        api.sandbox.faults.add("ftrack", "status", 500, probability=0.5, seed=3)
        found = [api.post().status_code for _ in range(20)]
        api.sandbox.faults.clear()
        return found

    assert set(pattern()) == {200, 500}
    assert pattern() == pattern()


def test_conditions_choose_the_request(api: Api) -> None:
    faults, component_id = api.sandbox.faults, str(uuid.uuid4())
    faults.add("ftrack", "error", "ServerError", action="create", entity_type="Asset")
    faults.add("store", "status", 503, component_id=component_id)
    assert isinstance(api.call({"action": "query", "expression": "Asset"}), list)
    assert isinstance(api.call(create("FileComponent", name="x")), list)
    assert api.call(create("Asset", name="x"))["exception"] == "ServerError"
    api.upload(b"pixels")
    refused = api.put(api.sign(b"pixels", component_id), b"pixels")
    assert refused.status_code == 503
    assert "SlowDown" in refused.text
    assert not api.sandbox.store.exists(component_id)


def test_a_lost_answer_means_done_without_an_answer(api: Api) -> None:
    api.sandbox.faults.add("ftrack", "lost_answer", action="create", times=1)
    api.sandbox.faults.add("store", "lost_answer", times=1)
    with pytest.raises(requests.ConnectionError):
        api.post(create("Asset", name="lost"))
    assert "lost" in {asset["name"] for asset in api.sandbox.ftrack.entities("Asset")}
    signed = api.sign(b"pixels")
    with pytest.raises(requests.ConnectionError):
        api.put(signed, b"pixels")
    assert api.sandbox.store.read(signed["component_id"]) == b"pixels"
    assert api.sandbox.store.puts()[0]["status"] is None


def test_a_reset_means_not_done(api: Api) -> None:
    api.sandbox.faults.add("ftrack", "reset", action="create", times=1)
    api.sandbox.faults.add("store", "reset", after_bytes=MIB, times=1)
    with pytest.raises(requests.ConnectionError):
        api.post(create("Asset", name="reset"))
    assert "reset" not in {asset["name"] for asset in api.sandbox.ftrack.entities("Asset")}
    content = b"x" * 20 * MIB
    signed = api.sign(content)
    with pytest.raises(requests.ConnectionError):
        api.put(signed, content)
    assert not api.sandbox.store.exists(signed["component_id"])
    assert api.put(signed, content).status_code == 200


def test_latency_bandwidth_and_stalls_delay_requests(api: Api) -> None:
    def took() -> float:
        begun = time.monotonic()
        api.upload(b"x" * MIB)
        return time.monotonic() - begun

    faults = api.sandbox.faults
    faults.add("ftrack", "latency_s", 0.3)
    assert took() > 0.3
    faults.clear()
    faults.add("store", "bandwidth_bytes_s", 4 * MIB)
    assert took() > 0.2
    faults.clear()
    stall = faults.add("store", "stall", 0.4, after_bytes=1000, times=1)
    assert took() > 0.4
    took()
    assert faults.struck(stall) == 1


@pytest.mark.parametrize("body", [None, "<html>Bad Gateway</html>", ""])
def test_junk_is_a_200_that_is_not_json(api: Api, body: str | None) -> None:
    api.sandbox.faults.add("ftrack", "junk", body=body)
    response = api.post()
    assert response.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_an_error_may_come_although_it_was_done(api: Api) -> None:
    api.sandbox.faults.add("ftrack", "status", 504, done=True)
    assert api.post(create("Asset", name="done")).status_code == 504
    assert "done" in {asset["name"] for asset in api.sandbox.ftrack.entities("Asset")}


def test_a_flipped_bit_is_noticed_by_the_store(api: Api) -> None:
    api.sandbox.faults.add("store", "bad_digest", times=1)
    signed = api.sign(b"pixels")
    refused = api.put(signed, b"pixels")
    assert refused.status_code == 400
    assert "BadDigest" in refused.text
    assert api.put(signed, b"pixels").status_code == 200


def test_a_wrong_etag_can_be_asked_for(api: Api) -> None:
    api.sandbox.faults.add("store", "etag", "wrong", times=1)
    signed = api.sign(b"pixels")
    assert api.put(signed, b"pixels").headers["ETag"] == '"wrong"'
    assert api.put(signed, b"pixels").headers["ETag"] != '"wrong"'


def test_a_benchmark_may_leave_the_store_out(api: Api) -> None:
    api.sandbox.faults.add("store", "discard", method="PUT")
    signed = api.sign(b"pixels")
    response = api.put(signed, b"pixels")
    assert response.headers["ETag"] == f'"{hashlib.md5(b"pixels").hexdigest()}"'
    assert not api.sandbox.store.exists(signed["component_id"])


def test_an_unknown_fault_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="no fault 'earthquake'"):
        sandbox.faults.add("store", "earthquake")  # type: ignore[arg-type]


def test_a_refused_large_put_still_gets_its_answer(api: Api) -> None:
    content = b"x" * 30 * MIB
    response = api.put(api.sign(content), content, **{"Content-MD5": md5(b"")})
    assert response.status_code == 403


# Redis and the whole


def test_a_free_port_is_not_handed_out_twice_before_it_is_bound() -> None:
    ports = [port for _ in range(10) for port in free_ports(8)]
    assert len(set(ports)) == len(ports)


def test_a_front_whose_port_is_taken_exits(tmp_path: Path) -> None:
    front_port, store_port = free_ports(2)
    FrontConfig(front_port, 1, store_port, 1).save(tmp_path / "front.json")
    with socket.create_server(("127.0.0.1", store_port)):
        command = python_module("tests.sandbox.front", str(tmp_path / "front.json"))
        assert subprocess.run(command, timeout=30, capture_output=True).returncode == 1


def test_redis_keeps_port_and_data_over_a_restart(sandbox: Sandbox) -> None:
    with sandbox.redis.client() as client:
        client.set("name", "value")
        sandbox.redis.stop()
        with pytest.raises(redis.ConnectionError):
            client.get("name")
        sandbox.redis.start()
        assert client.get("name") == "value"
        sandbox.redis.kill()
        assert not sandbox.redis.running
    sandbox.reset()
    assert sandbox.redis.running


def test_redis_can_be_frozen(sandbox: Sandbox) -> None:
    with sandbox.redis.client() as client:
        client.ping()
        begun = time.monotonic()
        sandbox.redis.pause(0.3)
        client.ping()
        assert time.monotonic() - begun > 0.25


def test_a_reset_leaves_the_seeded_entities(api: Api) -> None:
    api.sandbox.ftrack.add_component("main.exr")
    api.sandbox.faults.add("ftrack", "status")
    api.sandbox.reset()
    assert api.sandbox.ftrack.entities("Component") == []
    assert api.sandbox.faults.list() == []
    assert api.sandbox.ftrack.calls() == []
    assert len(api.sandbox.ftrack.entities("AssetVersion")) == 1


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.parametrize("how", [pytest.param("terminate", marks=pytest.mark.slow), "kill"])
def test_the_servers_end_with_the_command(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-m", "tests.sandbox", "--keep-data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(7)]
        assert lines[0].startswith("export FTRACK_SERVER=http://127.0.0.1:")
        servers = children_of(process.pid)
        assert len(servers) == 4
        getattr(process, how)()
        code = process.wait(20)
    assert code == (0 if how == "terminate" else -9)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in servers), 5)


def test_queries_ask_for_related_entities_and_sort(sandbox: Sandbox) -> None:
    create = sandbox.ftrack.create
    asset = create("Asset", name="plate", context_id=seed.SHOT_ID)
    for number in (1, 3, 2):
        create("AssetVersion", asset_id=asset["id"], version=number)

    def numbers(expression: str) -> list[int]:
        query = {"action": "query", "expression": f"select version from AssetVersion {expression}"}
        return [row["version"] for row in sandbox.ftrack.api(query)[0]["data"]]

    plates = 'where asset has (name is "plate")'
    assert numbers(f"{plates} order by version desc limit 2") == [3, 2]
    assert numbers(f"{plates} order by version offset 1") == [2, 3]
    assert numbers('where asset.parent[Shot].name is "sh010" and asset.name is "plate"') == [
        1,
        3,
        2,
    ]
    assert numbers('where asset.parent[Task].name is "sh010"') == []
    query = "select name from Asset where versions any (version is 3)"
    [row] = sandbox.ftrack.api({"action": "query", "expression": query})[0]["data"]
    assert row["name"] == "plate"


def test_the_bytes_of_a_component_go_with_it(api: Api) -> None:
    with official_client(api.sandbox) as session:
        server = session.get("Location", seed.SERVER_LOCATION_ID)
        path = api.sandbox.storage / "gone.exr"
        path.write_bytes(b"gone")
        component = session.create_component(str(path), location=server)
        component_id = component["id"]
        assert api.sandbox.store.read(component_id) == b"gone"

        session.delete(component)
        session.commit()

    assert not api.sandbox.store.exists(component_id)


def test_it_answers_searches_widgets_and_resets(api: Api) -> None:
    search = {"action": "search", "expression": "select id, name from Shot", "terms": ["SH0"]}
    [found] = api.call(search)
    names = {row["name"] for row in found["data"]}
    assert names
    assert all("sh0" in name.lower() for name in names)
    assert api.call(search | {"terms": ["no such"]})[0]["data"] == []

    with official_client(api.sandbox) as session:
        url = session.get_widget_url("tasks")
        user = session.query("User").first()
        assert session.reset_remote("api_key", user) != session.reset_remote("api_key", user)
        api.sandbox.ftrack.create("AssetVersionList", name="dailies", project_id=seed.PROJECT_ID)
        found = session.query("List where name is dailies").one()
        assert found.entity_type == "AssetVersionList"
    default = requests.get(f"{api.sandbox.env['FTRACK_SERVER']}/img/thumbnail2.png", timeout=20)
    assert default.content.startswith(b"\x89PNG")
    page = requests.get(url, timeout=20)
    assert (page.status_code, page.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_it_answers_delayed_jobs_and_permissions(api: Api) -> None:
    with official_client(api.sandbox) as session:
        ldap = {"action": "delayed_job", "job_type": "SYNC_USERS_LDAP"}
        # As https://developer.ftrack.com/api-clients/examples/sync-ldap-users does.
        job = session.call([ldap])[0]["data"]
        assert (job.entity_type, job["status"]) == ("Job", "failed")
        assert "LDAP is not configured" in job["data"]
        assert session.query(f"Job where id is {job['id']}").one() == job
        shot = {"entity_type": "Shot", "entity_data": {"id": seed.SHOT_ID}}
        [found] = session.call([{"action": "permissions", **shot}])
    assert found["data"] == {"read": True, "create": True, "update": True, "delete": True}

    structure = {"action": "delayed_job", "job_type": "ICONIK_SYNC_STRUCTURE"}
    [started] = api.call({**structure, "data": {"context_id": seed.SHOT_ID}})
    assert "iconik is not configured" in started["data"]["data"]
    nobody = {"entity_type": "Shot", "entity_data": {"id": str(uuid.uuid4())}}
    for wrong in (
        {"action": "delayed_job", "job_type": "MAKE_TEA"},
        {**structure, "data": {"context_id": str(uuid.uuid4())}},
        structure,
        {"action": "permissions", "entity_type": "Teapot"},
        {"action": "permissions", **nobody},
        {"action": "send_user_invite", "user_id": str(uuid.uuid4())},
    ):
        assert "exception" in api.call(wrong), wrong
    assert api.call({"action": "send_user_invite", "user_id": seed.USER_ID})[0]["sent"]

    guest = Api(api.sandbox, seed.GUEST_USER, seed.GUEST_KEY)
    with guest.http:
        assert guest.call(ldap)["exception"] == "PermissionError"
        [found] = guest.call({"action": "permissions", **shot})
    assert found["data"] == {"read": True, "create": False, "update": False, "delete": False}
