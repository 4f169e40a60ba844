"""Somebody who may write to Redis, and has no key."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from tests.attacks.programs.ground import (
    LARGE,
    Asked,
    Ground,
    arrive,
    ask,
    holds,
    new_id,
    start_again,
    waits_for_ftrack,
    with_secret,
)
from tests.farm import Farm
from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT


def reads_ftrack_by_a_query_in_place_of_a_job(ground: Ground) -> bool:
    lie = 'x") or created_by.username like ("a%'
    with ground.farm() as farm:
        upload = ask(farm)
        farm.wait_located([upload.id])
        farm.redis.hset(upload.key, mapping={"jobs": lie, "job_state": "queued"})
        farm.redis.zadd("farmhaul:jobs", {upload.id: 1})
        return holds(lambda: "created_by.username" in str(farm.sandbox.ftrack.calls()), 10)


def sends_another_nodes_file_of_the_same_path(ground: Ground) -> bool:
    with ground.farm(**with_secret()) as farm:
        path = farm.make_file("local.exr", 2000)
        component_id = farm.sandbox.ftrack.add_component("local.exr")
        with farm.frozen():
            [row] = farm.enqueue(path, "--component-id", component_id, "--node-local")
            upload = Asked(row["upload_id"], component_id, path)
            host = farm.redis.hget(upload.key, "host")
            # As if it lay on another node: this one has another file of that path.
            path.write_bytes(b"of this node")
            farm.redis.hset(upload.key, "host", "")
            farm.redis.zrem(f"farmhaul:pending:{host}", upload.id)
            farm.redis.zadd("farmhaul:pending", {upload.id: 1})
        # No message is in the common queue, so another upload has it looked at.
        ask(farm)
        there = farm.sandbox.ftrack.locations
        return holds(lambda: there(component_id), 12) and (
            farm.sandbox.store.read(component_id) == b"of this node"
        )


def has_a_message_of_a_host_count_in_the_common_queue(ground: Ground) -> bool:
    with ground.farm(**with_secret()) as farm:
        farm.sandbox.faults.add("store", "latency_s", 1.0)
        path = farm.make_file("local.exr", 2000)
        component_id = farm.sandbox.ftrack.add_component("local.exr")
        farm.enqueue(path, "--component-id", component_id, "--node-local")
        heard = _overheard(farm, lambda _, queue: queue != "farmhaul")
        farm.sandbox.faults.clear()
        farm.wait_quiet()
        return _is_taken(farm, heard)


def reads_ftrack_by_a_query_in_place_of_a_component(ground: Ground) -> bool:
    lie = 'x") or created_by.username like ("a%'
    with ground.farm() as farm:
        upload = ask(farm)
        farm.wait_located([upload.id])
        farm.sandbox.faults.add("ftrack", "latency_s", 1.0)
        there = farm.make_file("x", 1).parent
        farm.cli("fetch", upload.component_id, "--to", there, "--enqueue")
        message = json.loads(_overheard(farm, _is_fetch))
        farm.sandbox.faults.clear()
        farm.wait_quiet()
        body = base64.b64decode(message["body"]).decode()
        if upload.component_id not in body:
            raise AssertionError("the message does not name the component")
        body = body.replace(upload.component_id, json.dumps(lie)[1:-1])
        message["body"] = base64.b64encode(body.encode()).decode()
        farm.redis.lpush(LIST, json.dumps(message))
        return holds(lambda: "created_by.username" in str(farm.sandbox.ftrack.calls()), 10)


def stops_a_worker_by_the_queue_of_its_host(ground: Ground) -> bool:
    with ground.farm() as farm:
        farm.redis.set(f"farmhaul.{socket.gethostname()}", "x")
        return not arrive(farm, ask(farm), within_s=20)


def keeps_workers_from_starting_by_another_type(ground: Ground) -> bool:
    with ground.farm() as farm:
        [worker] = farm.workers
        worker.stop()
        for name in ("binding.celery.pidbox", "binding_deadlines", "binding_permanent.farmhaul"):
            farm.redis.delete(f"_kombu.{name}")
            farm.redis.set(f"_kombu.{name}", "x")
        worker.launch()
        return not arrive(farm, ask(farm), within_s=30)


#: A list of the common queue that each worker reads.
LIST = "farmhaul\x06\x164"


def _is_fetch(task: str, _queue: str) -> bool:
    return task.endswith("fetch_component")


def _overheard(farm: Farm, is_wanted: Callable[[str, str], bool]) -> str:
    """Return a message that a worker has taken, as it stands in Redis."""
    heard: list[str] = []

    def hears() -> bool:
        for entry in farm.redis.hvals("unacked"):
            message, _, queue = json.loads(entry)
            if is_wanted(message["headers"]["task"], queue):
                heard.append(json.dumps(message))
        return bool(heard)

    if not holds(hears):
        raise AssertionError("no such message was heard")
    return heard[0]


def _is_taken(farm: Farm, message: str) -> bool:
    """Push a message into the common queue; return whether a worker takes it for one."""
    farm.redis.lpush(LIST, message)
    if not holds(lambda: not farm.redis.exists(LIST)):
        raise AssertionError("no worker has read the message")
    return not holds(lambda: "message_refused" in farm.workers[0].log_text(), 8)


def overwrites_newer_work_by_an_old_fetch(ground: Ground) -> bool:
    with ground.farm(**with_secret()) as farm:
        upload = ask(farm, b"from the store")
        farm.wait_located([upload.id])
        there = farm.make_file("x", 1).parent
        farm.sandbox.faults.add("ftrack", "latency_s", 1.0)
        farm.cli("fetch", upload.component_id, "--to", there, "--enqueue")
        heard = _overheard(farm, _is_fetch)
        farm.sandbox.faults.clear()
        fetched = there / upload.path.name
        if not holds(fetched.exists):
            raise AssertionError("nothing was fetched")
        farm.wait_quiet()
        fetched.write_bytes(b"newer work")
        farm.redis.lpush(LIST, heard)
        return holds(lambda: fetched.read_bytes() != b"newer work", 10)


def ends_all_workers_by_another_type(ground: Ground) -> bool:
    with ground.farm() as farm:
        farm.redis.delete("farmhaul")
        farm.redis.hset("farmhaul", "a", "b")
        return holds(lambda: not farm.workers[0].alive, 12)


def ends_all_workers_by_filling_redis(ground: Ground) -> bool:
    with ground.farm() as farm:
        farm.sandbox.faults.add("store", "latency_s", 0.5)
        with farm.frozen():
            for _ in range(12):
                ask(farm)
        farm.redis.config_set("maxmemory", "1mb")
        try:
            return holds(lambda: not farm.workers[0].alive, 35)
        finally:
            farm.redis.config_set("maxmemory", "0")


def has_status_end_by_a_traceback(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        farm.redis.hset("farmhaul:upload:x", mapping={"state": "active", "stage": "x"})
        upload = new_id()
        odd = {"state": "active", "stage": "x", "size": "1", "component": new_id()}
        farm.redis.hset(f"farmhaul:upload:{upload}", mapping=odd)
        farm.redis.zadd("farmhaul:state:active", {upload: time.time()})
        return "Traceback" in farm.cli("status").stderr


def has_the_exporter_answer_500(ground: Ground) -> bool:
    import http.client

    with ground.farm(0) as farm:
        upload = new_id()
        odd = {"state": "active", "stage": "x", "size": "1", "component": new_id()}
        farm.redis.hset(f"farmhaul:upload:{upload}", mapping=odd)
        farm.redis.zadd("farmhaul:state:active", {upload: time.time()})
        connection = http.client.HTTPConnection("127.0.0.1", ground.exporter(farm), timeout=20)
        connection.request("GET", "/metrics")
        return connection.getresponse().status == 500


def makes_queues_for_hosts_that_are_none(ground: Ground) -> bool:
    with ground.farm() as farm:
        for number in range(200):
            host = f"invented{number}"
            farm.redis.sadd("farmhaul:hosts", host)
            farm.redis.zadd(f"farmhaul:pending:{host}", {new_id(): 1})
        return holds(lambda: len([*farm.redis.scan_iter("*farmhaul.invented*")]) > 100, 10)


def holds_up_neighbours_by_a_fence(ground: Ground) -> bool:
    with ground.farm() as farm:
        with farm.frozen():
            broken, *good = (ask(farm) for _ in range(3))
            farm.redis.hset(broken.key, "fence", "x")
        return not arrive(farm, *good, within_s=25)


def stops_each_enqueue_by_a_total(ground: Ground) -> bool:
    with ground.farm() as farm:
        farm.redis.hset("farmhaul:totals", "enqueued", "x")
        component_id = farm.sandbox.ftrack.add_component()
        path = farm.make_file("f.exr", 100)
        done = farm.cli("enqueue", path, "--component-id", component_id)
        there = farm.sandbox.ftrack.locations
        return done.returncode != 0 or not holds(lambda: there(component_id), 15)


def closes_a_gate_for_ever(ground: Ground) -> bool:
    with ground.farm() as farm:
        for service in ("ftrack", "store"):
            farm.redis.hset(f"farmhaul:gate:{service}", mapping={"until": "1e12", "probed": "1e12"})
        return not arrive(farm, ask(farm), within_s=15)


def shows_a_sequence_without_a_frame(ground: Ground) -> bool:
    with ground.farm(**with_secret()) as farm:
        folder = farm.make_file("f.1001.exr", 100).parent
        for number in (1002, 1003):
            farm.make_file(f"f.{number}.exr", 100, folder.name)
        version = farm.sandbox.ftrack.version_id
        options = ("--version-id", version, "--name", new_id()[:8])
        with farm.frozen():
            [row] = farm.enqueue(folder, *options)
            publish = row["upload_id"]
            member = farm.redis.srandmember(f"farmhaul:left:{publish}")
            for kind in ("left", "files"):
                farm.redis.srem(f"farmhaul:{kind}:{publish}", member)
            farm.redis.hset(f"farmhaul:upload:{publish}", "total", 2)
            farm.redis.delete(f"farmhaul:upload:{member}")
            farm.redis.zrem("farmhaul:pending", member)
        return holds(lambda: farm.states([publish]) == ["located"], 20)


def shows_a_large_file_without_a_part(ground: Ground) -> bool:
    with ground.farm(**with_secret()) as farm:
        upload = ask(farm, LARGE, "f.mov")
        waits_for_ftrack(farm, upload)
        with farm.frozen():
            farm.redis.hdel(f"farmhaul:parts:{upload.id}", "etag:9", "seal:9")
            farm.sandbox.faults.clear()
        arrive(farm, upload)
        return farm.sandbox.store.size(upload.component_id) != LARGE


def gives_a_component_anothers_bytes(ground: Ground) -> bool:
    """It swaps the sealed URLs of two uploads, and later their ETags."""
    with ground.farm(**with_secret()) as farm:
        farm.sandbox.faults.add("store", "status", 503, method="PUT")
        ours, theirs = ask(farm, LARGE, "a.mov"), ask(farm, LARGE, "b.mov")
        keys = [f"farmhaul:parts:{one.id}" for one in (ours, theirs)]

        def are_signed() -> bool:
            farm.redis.delete("farmhaul:gate:store")  # the second waits for no outage
            return all(farm.redis.hexists(key, "urls:0") for key in keys)

        if not holds(are_signed, 40):
            raise AssertionError("no URL was signed")
        with farm.frozen():
            _swap(farm.redis, keys, "urls:")
            farm.sandbox.faults.clear()
            farm.sandbox.faults.add("ftrack", "status", 503, action="complete_multipart_upload")
        waits_for_ftrack(farm, ours, theirs)
        with farm.frozen():
            _swap(farm.redis, keys, "etag:")
            farm.sandbox.faults.clear()
        if not arrive(farm, ours, theirs, within_s=90):
            return False
        return farm.sandbox.store.read(theirs.component_id) != theirs.path.read_bytes()


def _swap(redis: Any, keys: list[str], prefix: str) -> None:
    first, second = (
        {name: value for name, value in redis.hgetall(key).items() if name.startswith(prefix)}
        for key in keys
    )
    redis.hset(keys[0], mapping=second)
    redis.hset(keys[1], mapping=first)


def brings_a_deleted_file_back_without_bytes(ground: Ground) -> bool:
    with ground.farm(**with_secret()) as farm:
        upload = ask(farm)
        farm.wait_located([upload.id])
        ftrack = farm.sandbox.ftrack
        for location in ftrack.locations(upload.component_id):
            ftrack.delete("ComponentLocation", location["id"])
        farm.sandbox.store.delete(upload.component_id)
        farm.redis.hdel(upload.key, "located")
        start_again(farm, upload)
        if not holds(lambda: ftrack.locations(upload.component_id), 15):
            return False
        return not farm.sandbox.store.exists(upload.component_id)


def _acl(ground: Ground) -> tuple[RedisServer, Any]:
    """Start a Redis with the users of deploy/redis/users.acl; return a client of their default."""
    words = (CHECKOUT / "deploy/redis/users.acl").read_text(encoding="utf-8").splitlines()
    lines = [line for line in words if line.startswith("user ")]
    file = ground.folder / "users.acl"
    users = [line.split()[1] for line in lines]
    text = "\n".join(lines) + "\nuser auditor on nopass ~* &* +@all\n"
    for user in users:
        text = text.replace(f"PASSWORD_OF_{user}", f">{user}-password")
    file.write_text(text, encoding="utf-8")
    server = RedisServer(ground.folder / "acl", extra=(f"aclfile {file}",))
    server.launch()
    import redis

    client: Any = redis.Redis(
        port=server.port, username="auditor", password="any", decode_responses=True
    )
    if not holds(lambda: _answers(client)):
        raise AssertionError("Redis does not start")
    return server, client


def _answers(client: Any) -> bool:
    import redis

    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def fills_redis_without_a_password(ground: Ground) -> bool:
    """It logs in as a user who needs none; then it asks for much, and reads no answer."""
    import redis

    server, auditor = _acl(ground)
    try:
        for user in auditor.acl_users():
            if user in {"auditor", "default"}:
                continue
            guest = redis.Redis(port=server.port, username=user, password="a guess")
            try:
                guest.ping()
            except redis.AuthenticationError:
                continue
            except redis.RedisError:
                pass
            return True
        return False
    finally:
        server.stop()


def stops_redis_by_a_loop_that_nobody_may_end(ground: Ground) -> bool:
    server, auditor = _acl(ground)
    try:
        users = [user for user in auditor.acl_users() if user not in {"auditor", "default"}]
        may = [
            auditor.execute_command("ACL", "DRYRUN", user, "SCRIPT", "KILL") in {"OK", b"OK", True}
            for user in users
        ]
        return not any(may)
    finally:
        server.stop()


def lets_a_hook_delete_the_queue(ground: Ground) -> bool:
    server, auditor = _acl(ground)
    try:
        command = ("ACL", "DRYRUN", "hook", "DEL", "farmhaul")
        return auditor.execute_command(*command) in {"OK", b"OK", True}
    finally:
        server.stop()


def uses_the_workers_rights_from_flower(_ground: Ground) -> bool:
    units = CHECKOUT / "deploy" / "systemd"

    def url_of(unit: str) -> str:
        lines = (units / unit).read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("LoadCredential=redis_url:"))

    return url_of("farmhaul-flower.service") == url_of("farmhaul-worker@.service")
