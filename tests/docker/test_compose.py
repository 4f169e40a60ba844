"""The containers of docker-compose.yml: built, started together, and one of them killed."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.docker.engine import Engine, NoEngine, engine
from tests.docker.stack import Stack, stack, wait_until
from tests.helpers.skipping import skip_loudly

# The time of the first test includes the installation of the engine, and all builds.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

WORKERS = 3
FILES = 120
FILE_BYTES = 200_000


@pytest.fixture(scope="module")
def docker_engine() -> Iterator[Engine]:
    try:
        with engine() as running:
            yield running
    except NoEngine as error:
        skip_loudly("NOTHING ABOUT CONTAINERS WAS TESTED", error)


@pytest.fixture(scope="module")
def farm(docker_engine: Engine) -> Iterator[Stack]:
    with stack(docker_engine, workers=WORKERS) as running:
        yield running


def _render(folder: Path, count: int) -> dict[Path, str]:
    """Write files as a farm would; return their MD5s."""
    folder.mkdir()
    noise = random.Random(folder.name)
    frames = {}
    for number in range(1001, 1001 + count):
        path = folder / f"{folder.name}.{number}.exr"
        data = noise.randbytes(FILE_BYTES)
        path.write_bytes(data)
        frames[path] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return frames


def _enqueue(farm: Stack, frames: dict[Path, str]) -> list[dict[str, str]]:
    version_id = farm.sandbox("version")
    manifest = "".join(
        json.dumps({"path": str(path), "version_id": version_id, "name": path.stem}) + "\n"
        for path in frames
    )
    said = farm.compose(
        "run", "--rm", "-T", "operator", "farmhaul", "enqueue", "--manifest=-", stdin=manifest
    )
    return [json.loads(line) for line in said.splitlines()]


def _stored(farm: Stack, frames: dict[Path, str]) -> dict[str, str]:
    everything: dict[str, str] = farm.sandbox("stored")["files"]
    return {path.name: everything[path.name] for path in frames if path.name in everything}


def _uploads(farm: Stack, *options: str) -> list[dict[str, str]]:
    worker = farm.containers("worker")[0]
    said = farm.inside(worker, "farmhaul", "status", "--json", *options)
    return [json.loads(line) for line in said.splitlines()]


def test_all_files_are_located_although_a_container_is_killed(
    farm: Stack,
) -> None:
    frames = _render(farm.storage / "sh010", FILES)
    assert farm.sandbox("slow", "3")
    uploads = _enqueue(farm, frames)
    assert len({upload["upload_id"] for upload in uploads}) == FILES

    def at_work() -> dict[str, list[str]]:
        """Return the uploads that each container sends now."""
        sending = [one for one in _uploads(farm, "--active") if one["stage"] == "put_file"]
        return {
            container: [one["path"] for one in sending if container[:12] in one["worker"]]
            for container in farm.containers("worker")
        }

    wait_until("somebody sends files", lambda: any(at_work().values()), timeout_s=30)
    victim, held = max(at_work().items(), key=lambda item: len(item[1]))
    farm.engine.docker("kill", "--signal=KILL", victim)
    assert held
    assert not _stored(farm, {Path(path): "" for path in held})
    farm.sandbox("quick")

    expected = {path.name: md5 for path, md5 in frames.items()}
    wait_until("all files located", lambda: _stored(farm, frames) == expected, timeout_s=120)
    # Exactly once: there is no second component and no second location.
    assert farm.sandbox("stored")["locations"] == FILES
    farm.start()


def test_a_worker_is_a_plain_user_that_can_write_nowhere_but_in_tmp(farm: Stack) -> None:
    worker = farm.containers("worker")[0]

    assert farm.inside(worker, "id", "-u").strip() == "10001"
    for place in ("/", "/opt/farmhaul", str(farm.storage)):
        refused = farm.inside(worker, "touch", f"{place}/mark", check=False)
        assert "Read-only file system" in refused
    farm.inside(worker, "touch", "/tmp/mark")
    status = farm.inside(worker, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_no_environment_command_line_or_image_holds_a_secret(farm: Stack) -> None:
    secrets = [
        part
        for path in Path(farm.settings["FARMHAUL_SECRETS"]).iterdir()
        for part in path.read_text().replace("requirepass ", "").strip().split("@")[0].split(":")
        if len(part) > 12
    ]
    assert len(secrets) >= 5
    told = [json.dumps(farm.inspect(one)) for one in farm.containers()]
    told += [
        farm.engine.docker("history", "--no-trunc", farm.settings[image])
        for image in ("FARMHAUL_IMAGE", "FARMHAUL_SANDBOX_IMAGE")
    ]
    told += [farm.engine.docker("top", one) for one in farm.containers()]
    told.append(farm.logs())

    for text in told:
        assert not [secret for secret in secrets if secret in text]


def test_a_worker_that_is_stopped_ends_its_work_and_goes_in_peace(farm: Stack) -> None:
    frames = _render(farm.storage / "sh020", 20)
    _enqueue(farm, frames)
    worker = farm.containers("worker")[0]
    farm.engine.docker("stop", "--time=60", worker, timeout_s=90)

    assert farm.inspect(worker)["State"]["ExitCode"] == 0
    expected = {path.name: md5 for path, md5 in frames.items()}
    wait_until("all files located", lambda: _stored(farm, frames) == expected, timeout_s=60)
    farm.start()


def test_redis_answers_nobody_without_the_password_but_a_health_check(farm: Stack) -> None:
    container = farm.containers("redis")[0]

    assert "NOAUTH" in farm.inside(container, "redis-cli", "dbsize", check=False)

    def as_health(command: str) -> str:
        secret = "$(cat /run/secrets/redis_password_health)"
        script = f"REDISCLI_AUTH={secret} redis-cli --user health {command}"
        return farm.inside(container, "sh", "-c", script, check=False)

    assert "PONG" in as_health("ping")
    assert "NOPERM" in as_health("dbsize")
    guessed = ("redis-cli", "--user", "health", "--pass", "guessed", "ping")
    assert "PONG" not in farm.inside(container, *guessed, check=False)


def _written(farm: Stack) -> bool:
    secret = Path(farm.settings["FARMHAUL_SECRETS"]) / "redis_url_worker"
    host = f"@127.0.0.1:{farm.settings['FARMHAUL_REDIS_PORT']}/"
    with redis.Redis.from_url(secret.read_text().strip().replace("@redis:6379/", host)) as client:
        state = client.info("persistence")
    return not state["aof_buffer_length"] and not state["aof_pending_bio_fsync"]


def test_records_and_workers_outlive_a_redis_that_is_killed(farm: Stack) -> None:
    frames = _render(farm.storage / "sh030", 10)
    uploads = _enqueue(farm, frames)
    # What Redis has written to its append-only file survives its own death.
    wait_until("all writes of Redis in its file", lambda: _written(farm), timeout_s=30)
    farm.engine.docker("kill", "--signal=KILL", farm.containers("redis")[0])
    farm.start()

    expected = {path.name: md5 for path, md5 in frames.items()}
    wait_until("all files located", lambda: _stored(farm, frames) == expected, timeout_s=120)
    ids = [upload["upload_id"] for upload in uploads]

    def states() -> set[str]:
        return {upload["state"] for upload in _uploads(farm, *ids)}

    wait_until("all records say located", lambda: states() == {"located"}, timeout_s=30)


def _flower(farm: Stack, path: str, login: str = "", method: str = "GET") -> tuple[int, str]:
    url = f"http://127.0.0.1:{farm.settings['FARMHAUL_FLOWER_PORT']}{path}"
    request = urllib.request.Request(url, method=method)
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_flower_is_read_only_and_wants_a_password(farm: Stack) -> None:
    login = (Path(farm.settings["FARMHAUL_SECRETS"]) / "flower_auth").read_text().strip()

    assert _flower(farm, "/workers")[0] == 401
    assert _flower(farm, "/workers", "farmhaul:guessed")[0] == 401
    status, page = _flower(farm, "/workers", login)
    assert status == 200
    names = [f"celery@{container[:12]}" for container in farm.containers("worker")]
    assert all(name in page for name in names)
    assert _flower(farm, "/broker", login)[0] == 200
    wait_until(
        "all workers have answered Flower",
        lambda: all(name in _flower(farm, "/api/workers?refresh=1", login)[1] for name in names),
        timeout_s=30,
    )
    status, tasks = _flower(farm, "/api/tasks", login)
    assert status == 200
    assert "farmhaul.put_file" in tasks
    # Neither the arguments of tasks nor their results hold presigned URLs or paths.
    assert "X-Amz-Signature" not in tasks
    assert str(farm.storage) not in tasks
    # Flower is read-only, and no worker met a message that it had to refuse.
    assert _flower(farm, f"/api/worker/shutdown/{names[0]}", login, method="POST")[0] == 403
    assert "is not sealed" not in farm.logs()


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param([], id="nothing is set"),
        # Flower reads it as a list with one empty login.
        pytest.param(["FLOWER_BASIC_AUTH="], id="an empty login"),
        pytest.param(["FARMHAUL_FLOWER_OPEN=yes"], id="open, but to more than loopback"),
    ],
)
def test_flower_does_not_start_without_a_login(farm: Stack, environment: list[str]) -> None:
    options = [f"-e{setting}" for setting in ["FLOWER_BASIC_AUTH_FILE=", *environment]]
    # Its message goes to stderr, which is only returned if the command fails.
    said = farm.compose("run", "--rm", "-T", *options, "flower", timeout_s=60, check=False)

    assert "FLOWER_BASIC_AUTH_FILE" in said
    assert "Visit me at" not in said
