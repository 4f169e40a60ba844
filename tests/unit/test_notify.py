"""Notices: what is noted with a move, and how a worker sends it to a real HTTP receiver."""

from __future__ import annotations

import base64
import hmac
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tasks.config.environment import SettingsError
from tasks.config.sealing import Codec, notice_keys
from tasks.config.settings import Settings
from tasks.intake.request import UploadRequest
from tasks.records import counters, keys
from tasks.records.notices import MOST_BYTES, Notices
from tasks.records.scripts import assembled_scripts
from tasks.records.status import Status
from tasks.transfer.errors import FileRefusedError, StoreRefusedError, UploadError
from tests.helpers.raw_server import raw_server
from tests.sandbox import RedisServer
from tests.unit.odd_server import Answer, OddServer, http
from tests.unit.records import Farm, file_of, member_of, sequence_of
from workers.steps import notify
from workers.steps.notify import Notify, Sender

SECRET_KEY = Fernet.generate_key().decode()
REFUSED = FileRefusedError("/mnt/a.exr", "is empty")
#: Between two tries, in seconds of the clock that a test gives to the sender.
LATER_S = 1000.0


def sender_to(farm: Farm, url: str, name: str = "w1") -> Sender:
    settings = Settings(farm.client, secret_keys=(SECRET_KEY,), notify_url=url)
    sender = Sender(settings, farm.client, name)
    sender.status.codec = farm.record.scripts.codec  # this farm does not seal
    sender.run(0.0)  # it says that notices are wanted
    return sender


def fail_one(farm: Farm, request: UploadRequest | None = None, error: UploadError = REFUSED) -> str:
    [upload_id] = farm.enqueue(request or file_of())
    [transfer] = farm.deliver(claim=upload_id)
    assert farm.fail(transfer, error) == "failed"
    return upload_id


def messages(odd: OddServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in odd.requests]


def events(odd: OddServer) -> list[tuple[str, str]]:
    found = [event for message in messages(odd) for event in message["events"]]
    return [(one["event"], one.get("upload_id") or one["node"]) for one in found]


def waiting(farm: Farm) -> int:
    return int(farm.client.zcard(keys.NOTICES))


def test_a_failed_upload_is_told_with_its_path_and_error(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    request = file_of(asked_host="node7", asked_user="ada")
    upload_id = fail_one(farm, request)

    sender.run(1.0)

    [message] = messages(odd)
    [event] = message["events"]
    assert (event["event"], event["upload_id"]) == ("upload_failed", upload_id)
    assert event["path"] == request.path
    assert event["error_kind"] == "FileRefusedError"
    assert "is empty" in event["error"]
    assert (event["asked_user"], event["asked_host"]) == ("ada", "node7")
    first, line = message["text"].splitlines()
    assert first == "farmhaul: 1 upload failed"
    assert f"`{request.path}`" in line
    assert waiting(farm) == 0


def test_a_remedy_names_the_upload_that_it_is_for(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    upload_id = fail_one(farm, error=StoreRefusedError("c0", 400, "EntityTooLarge"))

    sender.run(1.0)

    [message] = messages(odd)
    [state] = Status(farm.client, Codec([])).find([upload_id])
    assert state is not None
    for text in (message["text"].rstrip("`"), message["events"][0]["error"], state.error):
        assert text.endswith(f"then: farmhaul retry {upload_id}")


def test_a_message_is_signed_as_standard_webhooks_are(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, f"{odd.url}/hook")
    fail_one(farm)
    sender.run(1.0)

    [request] = odd.requests
    assert request.line == b"POST /hook HTTP/1.1"
    name, at = request.header(b"webhook-id"), request.header(b"webhook-timestamp")
    assert abs(int(at) - time.time()) < 60
    [key] = notice_keys([SECRET_KEY])
    signature = hmac.digest(key, b".".join((name, at, request.body)), "sha256")
    assert request.header(b"webhook-signature") == b"v1," + base64.b64encode(signature)
    assert key != base64.urlsafe_b64decode(SECRET_KEY)


def test_a_publish_is_told_once_and_its_members_are_not(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    [publish_id] = farm.enqueue(sequence_of(2))
    for transfer in farm.deliver(claim="members"):
        farm.store(transfer)
    [publish] = farm.deliver(claim="publish")
    farm.settle(publish, "located")
    [failed_id] = farm.enqueue(sequence_of(member_of()))
    [member] = farm.deliver(claim="other")
    farm.fail(member, REFUSED)
    [single_id] = farm.enqueue(file_of())
    farm.settle(farm.deliver(claim="single")[0], "located")

    sender.run(1.0)

    assert events(odd) == [("publish_visible", publish_id), ("upload_failed", failed_id)]
    assert farm.state(single_id) == "located"


def test_nodes_are_told_when_set_aside_and_when_they_are_back(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    farm.take_tasks("bad", "good")
    fault = {"what": "clock", "kind": "Clock", "error": "10 s late"}
    run = farm.record.scripts.run
    for _ in range(2):
        run("check_node", node="bad", fault=fault)
    run("check_node", node="bad")
    run("check_node", node="bad", fault=fault)
    run("let_go_on", node="bad")

    sender.run(1.0)

    told = ["node_set_aside", "node_back"] * 2
    assert events(odd) == [(event, "bad") for event in told]
    assert "`has a wrong clock`" in messages(odd)[0]["text"]


def test_an_upload_whose_record_is_beyond_repair_is_told_of(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    [upload_id] = farm.enqueue(file_of())
    give_up, _, _ = assembled_scripts()["reclaim"].partition("local claim = ")
    give_up += "attempt(args.id, error, 'odd') return finish_script(0)"
    farm.client.eval(give_up, 0, json.dumps({"id": upload_id, "ttl_s": 99}))

    sender.run(1.0)

    assert events(odd) == [("upload_failed", upload_id)]
    assert messages(odd)[0]["events"][0]["error_kind"] == "RecordBroken"


def test_nothing_is_noted_on_a_farm_without_a_receiver(farm: Farm) -> None:
    fail_one(farm)
    assert waiting(farm) == 0


def test_what_the_first_task_fails_with_is_noted(
    farm: Farm, odd: OddServer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer, which takes tasks, starts after all other steps of a worker."""
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)
    monkeypatch.setenv("FARMHAUL_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("FARMHAUL_NOTIFY_URL", odd.url)
    step = Notify(SimpleNamespace(hostname="w1"))
    monkeypatch.setattr(step, "interval_s", 3600.0)

    step.start(step.worker)
    fail_one(farm)
    step.stop(step.worker)

    assert waiting(farm) == 1


def test_one_worker_sends_for_all(farm: Farm, odd: OddServer) -> None:
    first, second = (sender_to(farm, odd.url, name) for name in ("w1", "w2"))
    fail_one(farm)

    second.run(1.0)
    assert not odd.requests
    first.run(1.0)
    assert len(odd.requests) == 1

    fail_one(farm)
    farm.client.delete(keys.NOTIFIER)  # as when the first one has died
    second.run(2.0)
    assert len(odd.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        http("500 Internal Server Error"),
        http("403 Forbidden", b"x" * 100_000),
        http("302 Found", headers={"Location": "http://127.0.0.1:1/"}),
        b"not HTTP at all\r\n\r\n",
        None,
    ],
)
def test_what_a_receiver_does_not_take_waits_for_it(
    farm: Farm, odd: OddServer, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    odd.answers = [answer, answer, http("204 No Content")]
    sender = sender_to(farm, f"{odd.url}/secret-path")
    first = fail_one(farm)
    sender.run(1.0)
    sender.run(1.5)
    assert len(odd.requests) == 1, "after a failure there is a pause"
    assert waiting(farm) == 1

    second = fail_one(farm)
    sender.run(LATER_S)
    sender.run(2 * LATER_S)

    assert waiting(farm) == 0
    assert events(odd)[-2:] == [("upload_failed", first), ("upload_failed", second)]
    ids = [[event["id"] for event in message["events"]] for message in messages(odd)]
    assert ids[1] == ids[2]
    assert ids[1][0] == ids[0][0]
    names = [request.header(b"webhook-id") for request in odd.requests]
    assert names[0] != names[1] == names[2], "another batch is another message"
    logged = [record.getMessage() for record in caplog.records]
    assert sum("notices_away" in line for line in logged) == 1
    assert not any("secret-path" in line for line in logged)


def test_a_receiver_that_hangs_holds_the_step_up_for_seconds_only(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "CALL_S", 0.5)

    def drip(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b".")
            time.sleep(0.1)

    for answer in (b"", drip):
        with raw_server(answer) as server:
            sender = sender_to(farm, f"http://127.0.0.1:{server.port}")
            farm.client.delete(keys.NOTICES)
            fail_one(farm)
            began = time.monotonic()
            sender.run(1.0)
            assert time.monotonic() - began < 5
            assert waiting(farm) == 1


def test_a_message_that_is_refused_for_good_is_dropped_and_counted(
    farm: Farm, odd: OddServer, caplog: pytest.LogCaptureFixture
) -> None:
    odd.answers = [*[http("400 Bad Request")] * notify.MOST_REFUSALS, http("200 OK")]
    sender = sender_to(farm, odd.url)
    fail_one(farm)
    for number in range(notify.MOST_REFUSALS):
        assert waiting(farm) == 1
        sender.run(LATER_S * (number + 1))
    assert waiting(farm) == 0
    assert counters.read(farm.client).plain["notices_dropped"] == 1
    assert "notices_refused" in caplog.text

    fail_one(farm)
    sender.run(LATER_S * 100)

    last = messages(odd)[-1]
    assert last["dropped"] == 1
    assert "1 notices before these were dropped" in last["text"]


def test_notices_that_wait_are_bounded_and_the_rest_is_counted(farm: Farm, odd: OddServer) -> None:
    sender_to(farm, odd.url)
    farm.client.zadd(keys.NOTICES, {f"filler {number}": number for number in range(9_999)})
    fail_one(farm)
    fail_one(farm)

    assert waiting(farm) == 10_000
    assert counters.read(farm.client).plain["notices_dropped"] == 1


def test_what_others_write_among_the_notices_is_removed(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    odd_ones = ["no JSON", "[]", '{"event": 1}', '{"event": "upload_failed", "id": "x", "at": []}']
    # Redis would be asked by the id, which is half a character.
    odd_ones += ['{"event": "upload_failed", "id": "\\ud800", "at": 1}']
    odd_ones += [
        f'{{"event": "upload_failed", "id": "x", "at": {at}}}' for at in ("NaN", "1e300", "9" * 400)
    ]
    long = {"event": "node_back", "node": "x" * MOST_BYTES, "at": 1}
    farm.client.zadd(keys.NOTICES, dict.fromkeys([*odd_ones, json.dumps(long)], 1))
    upload_id = fail_one(farm)

    sender.run(1.0)

    assert events(odd) == [("upload_failed", upload_id)]
    assert waiting(farm) == 0


@pytest.mark.parametrize("count", ["9" * 5000, "x", "-1", "nan"])
def test_a_count_that_is_none_holds_up_no_notice(farm: Farm, odd: OddServer, count: str) -> None:
    sender = sender_to(farm, odd.url)
    farm.client.hset(keys.TOTALS, "notices_dropped", count)
    upload_id = fail_one(farm)

    sender.run(1.0)

    assert events(odd) == [("upload_failed", upload_id)]
    assert messages(odd)[0]["dropped"] == 0


@pytest.mark.parametrize("lives_s", [None, 3600])
def test_nobody_holds_up_notices_by_their_lock(
    farm: Farm, odd: OddServer, lives_s: int | None
) -> None:
    sender = sender_to(farm, odd.url)
    farm.client.set(keys.NOTIFIER, "nobody", ex=lives_s)
    upload_id = fail_one(farm)

    sender.run(1.0)

    assert events(odd) == [("upload_failed", upload_id)]


def test_no_name_of_a_file_is_a_mention_or_a_link_in_a_chat(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    fail_one(farm, file_of()._replace(path="/mnt/`@channel <!here> <http://x|y>.exr"))

    sender.run(1.0)

    [_, line] = messages(odd)[0]["text"].splitlines()
    assert "`/mnt/'@channel &lt;!here&gt; &lt;http://x|y&gt;" in line
    assert line.count("`") == 4


def test_no_event_that_others_invent_is_a_mention_or_a_link(farm: Farm, odd: OddServer) -> None:
    sender = sender_to(farm, odd.url)
    lie = {"event": "<!channel> log in at <https://evil.example.com>", "node": "x", "at": 1}
    farm.client.zadd(keys.NOTICES, {json.dumps(lie): 1})

    sender.run(1.0)

    [_, line] = messages(odd)[0]["text"].splitlines()
    assert "`&lt;!channel&gt; log in at &lt;https://evil.example.com&gt;`" in line


@pytest.mark.parametrize(
    "url",
    [
        "http://chat.studio/hook",
        "https://169.254.169.254/latest",
        "https://metadata.google.internal/",
        "https://user:word@chat.studio/hook",
        "ftp://chat.studio/",
        "chat.studio/hook",
        "https://:443/hook",
    ],
)
def test_a_url_that_no_worker_may_call_is_refused_unseen(url: str) -> None:
    environment = {"FARMHAUL_NOTIFY_URL": url, "FARMHAUL_SECRET_KEY": SECRET_KEY}
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    assert str(caught.value).startswith("FARMHAUL_NOTIFY_URL: is not a URL that a worker may call")
    assert url not in str(caught.value)


def test_the_url_is_a_secret_and_needs_the_secret_key(tmp_path: Any) -> None:
    url = "https://chat.example/hook-of-farm"
    file = tmp_path / "notify_url"
    file.write_text(f"{url}\n")
    environment = {"FARMHAUL_NOTIFY_URL_FILE": str(file), "FARMHAUL_SECRET_KEY": SECRET_KEY}
    settings = Settings.from_environment(environment)
    assert settings.notify_url == url
    assert url not in repr(settings)

    del environment["FARMHAUL_SECRET_KEY"]
    with pytest.raises(SettingsError, match="FARMHAUL_SECRET_KEY, which is not set"):
        Settings.from_environment(environment)


def test_a_worker_that_was_frozen_removes_only_what_it_has_sent(farm: Farm) -> None:
    notices = Notices(farm.client, sender_to(farm, "http://127.0.0.1:1").notices.codec, "w1")
    fail_one(farm)
    sent = [notice.raw for notice in notices.first(10)]
    fail_one(farm)

    for _ in range(2):
        notices.remove(sent)

    assert waiting(farm) == 1
