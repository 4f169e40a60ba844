"""``farmhaul key``: keys for nodes that must not have the secret key."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cryptography.fernet import Fernet

from tasks.config.hook_key import derive_hook_key, hook_keys_from_text
from tasks.config.hook_settings import HookSettings
from tests.farm import BIN

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def key_hook(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "farmhaul"), "key", "hook"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_key_of_hooks_has_a_part_for_each_secret_key() -> None:
    done = key_hook(FARMHAUL_SECRET_KEY=f"{NEW},{OLD}")

    assert (done.returncode, done.stderr) == (0, "")
    printed = hook_keys_from_text(done.stdout)
    assert printed == (derive_hook_key(NEW), derive_hook_key(OLD))
    # What a hook signs with it, a worker with the secret keys accepts.
    [hook, worker] = (
        HookSettings.from_environment(environment).hook_keys
        for environment in (
            {"FARMHAUL_HOOK_KEY": done.stdout},
            {"FARMHAUL_SECRET_KEY": f"{OLD},{NEW}"},
        )
    )
    assert set(hook) == set(worker)
    assert not any(secret.strip("=") in done.stdout for secret in (OLD, NEW))


def test_the_key_of_hooks_needs_the_secret_key_alone(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    file.write_text(f"{NEW}\n")

    done = key_hook(FARMHAUL_SECRET_KEY_FILE=str(file), FARMHAUL_STORAGE_ROOTS="not absolute")

    assert hook_keys_from_text(done.stdout) == (derive_hook_key(NEW),)


def test_without_a_usable_secret_key_there_is_no_key_of_hooks() -> None:
    for value, words in (("", "is not set"), ("secret", "FARMHAUL_SECRET_KEY: key 1 is not")):
        done = key_hook(FARMHAUL_SECRET_KEY=value)

        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_without_a_word_no_key_and_no_help_is_printed() -> None:
    command = [str(BIN / "farmhaul"), "key"]
    environment = {"FARMHAUL_SECRET_KEY": NEW}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "farmhaul: name the key to print: hook or notify",
        "farmhaul: Try 'farmhaul key --help' for help.",
    ]
