"""From a Windows host to ftrack: workers on Linux take in what the hook has sent."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tests.farm import Farm
from tests.helpers.pyz import built_pyz
from tests.sandbox import Sandbox, seed
from tests.sandbox.process import NO_REDIS
from tests.windows.conftest import Hook
from tests.windows.python import WindowsPython

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]

SECRET = "q" * 43 + "="


@pytest.fixture(scope="module")
def farm(running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A worker that maps a drive and a share to its storage."""
    running_sandbox.reset()
    storage = running_sandbox.storage
    env = {
        "FARMHAUL_SECRET_KEY": SECRET,
        "FARMHAUL_PATH_MAP": f"P:\\={storage};\\\\server\\prod={storage}",
        "FARMHAUL_SPOOL": str(storage / "spool"),
    }
    with Farm(running_sandbox, tmp_path_factory.mktemp("farm"), workers=1, env=env) as one:
        yield one


@pytest.fixture
def hook(windows: WindowsPython, farm: Farm) -> Hook:
    one = Hook(windows, built_pyz(), farm.sandbox.storage, farm.env["FARMHAUL_REDIS_URL"])
    one.env["FARMHAUL_HOOK_KEY"] = hook_key_text(derive_hook_key(SECRET))
    return one


def test_files_of_windows_are_located(farm: Farm, hook: Hook) -> None:
    content = random.randbytes(20_000)
    hook.write("sh 010/größe 映.exr", content)
    for number in (1001, 1002):
        hook.write(f"sh 020/f.{number}.exr", random.randbytes(5_000))
    version = ("--version-id", seed.VERSION_ID)

    done = hook.run("enqueue", "P:\\sh 010\\größe 映.exr", *version)
    sequence = hook.run("enqueue", "\\\\SERVER\\prod\\sh 020", *version)

    assert (done.code, sequence.code) == (0, 0), (done, sequence)
    [one], [publish] = done.answers, sequence.answers
    farm.wait_located([one["upload_id"], publish["upload_id"]])
    assert farm.sandbox.store.read(one["component_id"]) == content


def test_a_worker_sends_what_a_windows_host_keeps_on_a_share(farm: Farm, hook: Hook) -> None:
    hook.write("kept.exr", b"pixels")
    hook.env |= {"FARMHAUL_REDIS_URL": NO_REDIS, "FARMHAUL_SPOOL": "\\\\server\\prod\\spool"}

    done = hook.run("enqueue", "P:\\kept.exr", "--version-id", seed.VERSION_ID)

    assert [answer["state"] for answer in done.answers] == ["spooled"]
    farm.wait_located([done.answers[0]["upload_id"]])
