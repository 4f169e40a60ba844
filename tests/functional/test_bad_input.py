"""Bad input: one line says what to do, and nothing is queued."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Farm, wait_until
from tests.sandbox import RedisServer, Sandbox
from tests.sandbox.process import CLOSED_PORT

# Constants, because the names of the tests must be the same in all processes of a run.
ID = "2c5e8f9a-1b34-4d6e-8f70-a1b2c3d4e5f6"
OTHER_ID = "9f1d8f9a-1b34-4d6e-8f70-a1b2c3d4e5f6"


TRY_GROUP = ["farmhaul: Try 'farmhaul --help' for help.\n"]


def cases(*table: tuple[Any, str]) -> Any:
    """Parametrize by the input and what the message must contain, which is the test's id too."""
    return pytest.mark.parametrize(("given", "says"), table, ids=[says for _, says in table])


@pytest.fixture(scope="module")
def hook(running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm of hooks alone, with an empty Redis, because everything here is refused."""
    running_sandbox.reset()
    with Farm(running_sandbox, tmp_path_factory.mktemp("hook"), 0, database=1) as farm:
        yield farm


@pytest.fixture
def frame(hook: Farm) -> Path:
    return hook.make_file("main.exr", b"pixels")


def refusal(farm: Farm, *arguments: str | Path, **options: Any) -> str:
    """Run the command, which must be refused; return the one line that explains the refusal.

    After a usage error, a second line names the help.
    """
    done = farm.cli(*arguments, **options)
    assert done.returncode == 2, done
    assert done.stdout == ""
    line, *hint = done.stderr.splitlines(keepends=True)
    assert line.startswith("farmhaul: ")
    command = f"farmhaul {arguments[0]}"
    assert hint in ([], [f"farmhaul: Try '{command} --help' for help.\n"], TRY_GROUP), done.stderr
    assert farm.redis.dbsize() == 0
    return line


def no_such_file(path: Path) -> Path:
    return path.with_name("missing.exr")


def a_directory(path: Path) -> Path:
    return path.parent


def a_fifo(path: Path) -> Path:
    fifo = path.with_name("fifo")
    os.mkfifo(fifo)
    return fifo


def a_socket(path: Path) -> Path:
    place = path.with_name("s")
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)
        # The path of a socket has at most 107 bytes, so this one is short.
        server.bind(f"/proc/self/fd/{folder}/s")
        os.close(folder)
    return place


def an_empty_file(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def outside_the_roots(path: Path) -> Path:
    return Path("/etc/hostname")


def a_link_out_of_the_roots(path: Path) -> Path:
    link = path.with_name("link.exr")
    link.symlink_to("/etc/hostname")
    return link


def a_way_out_by_dots(path: Path) -> Path:
    return path.parent / "../../../../../../../../etc/hostname"


def a_link_to_itself(path: Path) -> Path:
    link = path.with_name("loop.exr")
    link.symlink_to(link)
    return link


def a_name_that_is_not_text(path: Path) -> Path:
    odd = Path(os.fsdecode(bytes(path.parent) + b"/\xff\xfe.exr"))
    odd.write_bytes(b"pixels")
    return odd


def a_name_of_two_lines(path: Path) -> Path:
    return path.with_name("a\nfarmhaul: well")


@cases(
    (no_such_file, "missing.exr: no such file"),
    (a_directory, "is a directory; name the files in it"),
    (a_fifo, "is a FIFO; only regular files"),
    (a_socket, "is a socket; only regular files"),
    (an_empty_file, "--allow-empty"),
    (outside_the_roots, "FARMHAUL_STORAGE_ROOTS"),
    (a_link_out_of_the_roots, "leads to /etc/hostname, which is outside"),
    (a_way_out_by_dots, "is outside the storage roots ("),
    (a_link_to_itself, "symbolic links"),
    (a_name_that_is_not_text, "contains characters that cannot be stored"),
    (a_name_of_two_lines, "a\\nfarmhaul: well' contains characters"),
)
def test_a_path_that_cannot_be_uploaded_is_refused(
    hook: Farm, frame: Path, given: Callable[[Path], Path], says: str
) -> None:
    assert says in refusal(hook, "enqueue", given(frame), "--component-id", ID)


def test_a_device_is_refused(hook: Farm) -> None:
    line = refusal(
        hook, "enqueue", "/dev/null", "--component-id", ID, env={"FARMHAUL_STORAGE_ROOTS": "/dev"}
    )
    assert "is a device; only regular files" in line


@cases(
    ([], "has no target; give --component-id "),
    (["--component-id", "12345"], "--component-id '12345' is not a UUID"),
    (["--component-id", f"{ID}0"], f"{ID}0' is not a UUID"),
    (["--component-id", ""], "--component-id '' is not a UUID"),
    (["--version-id", "v001"], "--version-id 'v001' is not a UUID"),
    (
        ["--component-id", ID, "--version-id", OTHER_ID],
        "has both --component-id and --version-id",
    ),
    (
        ["--component-id", ID, "--name", "main"],
        "--name needs --version-id; it cannot be used with --component-id",
    ),
    (
        ["--component-id", ID, "--thumbnail", "--encode"],
        "--thumbnail and --encode need --version-id; they cannot",
    ),
    (["--version-id", ID, "--name", "  "], "has an empty name; set --name"),
    (["--component-id", ID, "--priority", "asap"], "--priority 'asap' is not one of urgent"),
    (["--component-id", ID, "--wait", "--timeout", "soon"], "'soon' is not a number of seconds"),
    (["--component-id", ID, "--timeout", "-1"], "-1"),
    (["--component"], "--component"),
    (["--component-id"], "requires an argument"),
)
def test_options_that_do_not_fit_are_refused(
    hook: Farm, frame: Path, given: list[str], says: str
) -> None:
    assert says in refusal(hook, "enqueue", frame, *given)


def test_several_files_for_one_component_are_refused(hook: Farm, frame: Path) -> None:
    other = hook.make_file("other.exr", b"pixels")
    line = refusal(hook, "enqueue", frame, other, "--component-id", ID)
    assert f"component {ID} would get two files: {frame} and {other}; " in line
    assert line.endswith(" its own --component-id\n")


def test_two_files_of_one_name_under_a_version_are_refused(hook: Farm, frame: Path) -> None:
    other = hook.make_file("main.exr", b"other")
    line = refusal(hook, "enqueue", frame, other, "--version-id", ID)
    assert f"component 'main' of version {ID} would get two files: {frame} and {other}; " in line


def test_one_name_for_several_files_is_refused(hook: Farm, frame: Path) -> None:
    other = hook.make_file("other.exr", b"pixels")
    line = refusal(hook, "enqueue", frame, other, "--version-id", ID, "--name", "main")
    assert "--name main is for one file, but 2 are given" in line


@cases(
    (["enqueue"], "--manifest; see farmhaul enqueue --help"),
    (["enqueue", "--component-id", ID], "name a file to upload, or"),
    (["enqueue", "--manifest", "/missing.jsonl"], "/missing.jsonl"),
    (["enqueue", "--manifest", "/tmp"], "Is a directory"),
    (["enqueue", "--manifest", "-"], "manifest contains no uploads"),
    (["enqueue", "/x", "--manifest", "-"], "--manifest cannot be combined with paths"),
    (["upload", "/x"], "No such command 'upload'"),
    (["status", "--limit", "0"], "'0' is not a whole number from 1\n"),
    (["exporter", "--port", "x"], "'x' is not a whole number from 1 to 65535\n"),
    (["check", "/x"], "/x has no target; give the --version-id or --component-id under which"),
    (["fetch", ID, "--to", "/", "--enqueue"], "; name a folder below them, or add"),
    (["retry"], "name the uploads to retry, or retry all failed"),
    (["limit", "--api-rate", "10/s"], "write 20, off, or 08:00-20:00=20,else=off"),
    (["retry", "--failed", ID], "--failed retries all failed uploads: leave it or the ids out"),
    (["cancel"], "Missing argument"),
    (["flush-spool"], "FARMHAUL_SPOOL is not set"),
    (["status", "x"], "no upload x is known here; words are whole words of a path"),
    (["status", ID], f"no upload {ID} is known here; farmhaul status --all"),
    (["retry", ID], f"no upload {ID} is known"),
    (["cancel", ID], f"farmhaul: no upload {ID} is known here"),
    (["retry", "sh020"], "farmhaul: sh020 is not the id of an upload, nor its first 8 digits"),
    (["retry", ID[:8]], f"farmhaul: no id begins with {ID[:8]}: farmhaul status --format lines"),
    (["cancel", "\udcff"], "farmhaul: \\udcff is not the id of an upload"),
    (["status", "a\nb"], "farmhaul: no upload a\\nb is known here"),
    (["status", "--fetches", "x"], "farmhaul: --fetches takes no words and no option that finds"),
    (["status", "--fetches", "--since", "2h"], "no option that finds uploads, only ids"),
    (["status", "--all", "--state", "failed"], "--state is another choice than --all: leave one"),
    (["status", "--fetches", "--failed"], "--failed is another choice than --fetches: leave one"),
    (["status", "--active", "--all"], "--active is another choice than --all: leave one"),
    (["status", "worker:w1@vm"], "a worker finds the uploads that it processes now"),
    (["status", "--failed", "--state", "located"], "--state is another choice than --failed"),
    (["exporter", "--address", "\udcff"], "cannot listen on \\udcff:9840: this is not an address"),
    (["status", "--state", " , "], "farmhaul: --state is empty"),
    (["watch", "sh020", "--since", "2h"], "farmhaul: no upload sh020 --since 2h is known here"),
)
def test_a_command_that_is_not_valid_is_refused(hook: Farm, given: list[str], says: str) -> None:
    assert says in refusal(hook, *given)


@cases(
    ("{'path': 'x'}", "not valid JSON (Expecting property name"),
    ("[" * 100_000, "not valid JSON (nested too deeply)"),
    ('"main.exr"', "not a JSON object; write"),
    ('{"path": "/mnt/a.exr", "path": "/mnt/b.exr"}', "'path' stands there twice; write each key"),
    ('{"path": 7}', "path must be a string"),
    ('{"path": "x", "thumbnail": "yes"}', "thumbnail must be true or false"),
    ('{"path": "x", "component": "y"}', "'component' is not a key of a manifest"),
    ("{}", "has no path"),
    ('{"path": "/etc/hostname"}', "has no target; give component_id "),
    (json.dumps({"path": "/etc/hostname", "component_id": "x"}), "component_id 'x' is not a UUID"),
    (
        json.dumps({"path": "/etc/hostname", "component_id": ID}),
        "FARMHAUL_STORAGE_ROOTS",
    ),
    (json.dumps({"path": "", "component_id": ID}), "the path is empty"),
    (json.dumps({"path": "a\0b", "component_id": ID}), "'a\\x00b' contains characters"),
    (
        json.dumps({"path": "/x", "component_id": ID, "priority": "asap"}),
        "priority 'asap' is not one of",
    ),
    (json.dumps({"path": "/\udcff", "component_id": ID}), "'/\\udcff' contains characters"),
)
def test_a_bad_line_of_a_manifest_is_named_and_nothing_queued(
    hook: Farm, given: str, says: str
) -> None:
    folder = uuid.uuid4().hex
    lines = [
        json.dumps(
            {
                "path": str(hook.make_file(f"{number}.exr", b"pixels", folder)),
                "component_id": str(uuid.uuid4()),
            }
        )
        for number in range(9)
    ]
    lines[6:6] = [given]
    refused = refusal(hook, "enqueue", "--manifest", "-", stdin="\n".join(lines))
    assert refused.startswith("farmhaul: manifest line 7: ")
    assert says in refused


def test_a_manifest_names_both_lines_of_one_component(hook: Farm, frame: Path) -> None:
    other = hook.make_file("other.exr", b"pixels")
    lines = [{"path": str(path), "component_id": ID} for path in (frame, other)]
    line = refusal(hook, "enqueue", "--manifest", "-", stdin="\n\n".join(map(json.dumps, lines)))
    assert "manifest line 3" in line
    assert "manifest line 1" in line


# The environment


def test_without_storage_roots_nothing_is_queued(hook: Farm, frame: Path) -> None:
    line = refusal(
        hook, "enqueue", frame, "--component-id", ID, env={"FARMHAUL_STORAGE_ROOTS": None}
    )
    assert "FARMHAUL_STORAGE_ROOTS is not set" in line
    assert "such as /mnt/prod:/mnt/cache" in line


def test_all_errors_of_the_environment_are_reported_together(hook: Farm, frame: Path) -> None:
    wrong = {
        "FARMHAUL_STORAGE_ROOTS": "renders",
        "FARMHAUL_SPOOL": "spool",
        "FARMHAUL_SECRET_KEY": "hunter2-is-my-secret",
        "FARMHAUL_PATH_MAP": "P:",
    }
    done = hook.cli("enqueue", frame, "--component-id", ID, env=wrong)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith("farmhaul: ") for line in lines)
    for name in wrong:
        assert sum(name in line for line in lines) == 1, name
    assert "hunter2" not in done.stderr
    assert hook.redis.dbsize() == 0


def test_a_bad_redis_url_is_refused_without_its_password(hook: Farm, frame: Path) -> None:
    line = refusal(
        hook,
        "enqueue",
        frame,
        "--component-id",
        ID,
        env={"FARMHAUL_REDIS_URL": "http://:hunter2@redis:6379"},
    )
    assert "FARMHAUL_REDIS_URL: is not a Redis URL; write redis://host:6379/0" in line
    assert "hunter2" not in line


def test_enqueueing_needs_no_ftrack_credentials(hook: Farm, frame: Path) -> None:
    without = dict.fromkeys(["FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY"])
    done = hook.cli("enqueue", frame, "--component-id", ID, env=without)
    hook.redis.flushdb()
    assert (done.returncode, done.stderr) == (0, "")


# Redis is away


def no_redis(farm: Farm, url: str, *arguments: str | Path) -> str:
    done = farm.cli(*arguments, env={"FARMHAUL_REDIS_URL": url}, timeout_s=20)
    assert done.returncode == 3, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "hunter2" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("command", ["enqueue", "status", "retry"])
def test_a_redis_that_is_down_is_reported_without_its_password(
    hook: Farm, frame: Path, command: str
) -> None:
    arguments = {"enqueue": (frame, "--component-id", ID), "status": (), "retry": (ID,)}[command]
    line = no_redis(hook, f"redis://:hunter2@127.0.0.1:{CLOSED_PORT}/0", command, *arguments)
    assert line.startswith("farmhaul: Redis is not reachable (")
    assert "check FARMHAUL_REDIS_URL" in line


def test_a_redis_that_does_not_answer_is_tried_once(hook: Farm, frame: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://:hunter2@127.0.0.1:{silent.getsockname()[1]}/0"
        line = no_redis(hook, url, "enqueue", frame, "--component-id", ID)
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # one try: a hook does not try again
            silent.accept()
    assert "no answer in time" in line


def test_a_host_without_an_address_is_reported(hook: Farm, frame: Path) -> None:
    url = "redis://:hunter2@redis.invalid:6379/0"
    assert "redis.invalid" in no_redis(hook, url, "enqueue", frame, "--component-id", ID)


def test_a_wrong_password_and_a_full_redis_are_reported(
    hook: Farm, frame: Path, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path / "redis", password="open-sesame")
    server.start()
    try:
        wrong = server.url.replace("open-sesame", "hunter2")
        line = no_redis(hook, wrong, "enqueue", frame, "--component-id", ID)
        assert "Redis refuses access" in line
        assert "check the user and password in FARMHAUL_REDIS_URL" in line

        with server.client() as client:
            client.config_set("maxmemory", 1)
        line = no_redis(hook, server.url, "enqueue", frame, "--component-id", ID)
        assert "Redis is full" in line
        assert "open-sesame" not in line
    finally:
        server.stop()


@pytest.fixture
def own_redis(hook: Farm, tmp_path: Path) -> Iterator[Any]:
    """A client of a Redis that the commands of this test use alone."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    hook.env["FARMHAUL_REDIS_URL"] = server.url
    with server.client() as client:
        yield client
    server.stop()


def test_status_names_a_redis_that_cannot_write(hook: Farm, own_redis: Any) -> None:
    folder, name = (own_redis.config_get(one)[one] for one in ("dir", "dbfilename"))
    own_redis.config_set("save", "3600 1000000")
    (Path(folder) / name).mkdir()  # so its snapshot cannot be saved
    own_redis.bgsave()
    wait_until(lambda: own_redis.info("persistence")["rdb_last_bgsave_status"] == "err")

    done = hook.cli("status", "--format", "table")

    assert "farmhaul: Redis cannot write to its disk" in done.stderr


def test_status_names_a_replica(hook: Farm, own_redis: Any) -> None:
    """It answers all that status asks, with what it had when its master went away."""
    own_redis.replicaof("127.0.0.1", str(CLOSED_PORT))
    own_redis.config_set("replica-serve-stale-data", "yes")

    done = hook.cli("status", "--format", "table")

    assert "farmhaul: Redis is a replica and cannot be written" in done.stderr


@pytest.mark.parametrize("frames", ["1001-1010", "[1001-1010]", "[1001-1010x2, 1012]"])
def test_frames_apart_from_their_pattern_are_refused(hook: Farm, frame: Path, frames: str) -> None:
    pattern = str(frame.with_name("main.%04d.exr"))
    line = refusal(hook, "enqueue", pattern, frames, "--version-id", ID, "--name", "exr")
    assert line.endswith(f"write them into one argument with their pattern, '{pattern} {frames}'\n")
