"""What a hook reads from its environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tasks.config.environment import SettingsError
from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.config.hook_settings import HookSettings
from tasks.config.redis_url import parse_redis_url
from tasks.config.settings import Settings


def read(**environment: str) -> HookSettings:
    return HookSettings.from_environment(environment)


def new_secret() -> str:
    return Fernet.generate_key().decode()


def test_an_empty_environment_gives_the_defaults_of_workers() -> None:
    settings, workers = read(), Settings.from_environment({})

    assert settings == HookSettings(parse_redis_url(workers.redis_url))
    assert (settings.storage_roots, settings.path_map) == (workers.storage_roots, workers.path_map)
    assert (settings.hook_keys, settings.spool, settings.may_read) == ((), "", True)


def test_a_hook_reads_what_workers_read(tmp_path: Path) -> None:
    environment = {
        "FARMHAUL_REDIS_URL": "rediss://:p%2Fw@redis.studio:6380/2",
        "FARMHAUL_STORAGE_ROOTS": f"{tmp_path}::/mnt",
        "FARMHAUL_PATH_MAP": "P:\\=/mnt/prod;Q:\\=/mnt/cache;",
        "FARMHAUL_SPOOL": "/var/spool/farmhaul",
    }
    settings, workers = read(**environment), Settings.from_environment(environment)

    assert settings.redis_url.password == "p/w"
    assert settings.storage_roots == workers.storage_roots == (str(tmp_path.resolve()), "/mnt")
    assert settings.path_map == workers.path_map
    assert settings.spool == workers.spool == "/var/spool/farmhaul"


def test_who_has_the_secret_key_needs_no_hook_key() -> None:
    old, new = new_secret(), new_secret()

    settings = read(FARMHAUL_SECRET_KEY=f"{old},{new}")

    assert settings.hook_keys == (derive_hook_key(old), derive_hook_key(new))
    assert settings.may_read


def test_a_node_with_only_a_hook_key_may_not_read_records(tmp_path: Path) -> None:
    secret = new_secret()
    text = hook_key_text(derive_hook_key(secret))
    file = tmp_path / "hook_key"
    file.write_text(text)

    for settings in (read(FARMHAUL_HOOK_KEY=text), read(FARMHAUL_HOOK_KEY_FILE=str(file))):
        assert settings.hook_keys == (derive_hook_key(secret),)
        assert not settings.may_read


def test_a_hook_key_of_another_secret_key_is_refused() -> None:
    secret, other = new_secret(), hook_key_text(derive_hook_key(new_secret()))
    own = hook_key_text(derive_hook_key(secret))
    assert read(FARMHAUL_HOOK_KEY=f"{other},{own}", FARMHAUL_SECRET_KEY=secret).may_read

    with pytest.raises(SettingsError) as raised:
        read(FARMHAUL_HOOK_KEY=other, FARMHAUL_SECRET_KEY=secret)

    assert str(raised.value).startswith("FARMHAUL_HOOK_KEY: is not made from FARMHAUL_SECRET_KEY")


def test_a_hook_says_what_workers_would_say() -> None:
    environment = {
        "FARMHAUL_REDIS_URL": "rediss://:s3cr3t@h?ssl_ca_certs=/none.pem",
        "FARMHAUL_HOOK_KEYS": "s3cr3t",
    }
    with pytest.raises(SettingsError) as raised:
        read(**environment)

    assert str(raised.value).splitlines() == [
        "FARMHAUL_REDIS_URL: ssl_ca_certs: cannot read /none.pem: No such file or directory",
        "FARMHAUL_HOOK_KEYS is not a variable of farmhaul; did you mean FARMHAUL_HOOK_KEY?",
    ]


@pytest.mark.parametrize("content", [b"", b"\x30\x82\x01\x0a\x02\x82"])
def test_a_hook_is_told_of_an_authority_that_is_no_pem(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.der"
    file.write_bytes(content)

    with pytest.raises(SettingsError) as raised:
        read(FARMHAUL_REDIS_URL=f"rediss://h?ssl_ca_certs={file}")

    assert str(raised.value).endswith(f"ssl_ca_certs: {file} has no certificate or key in PEM form")


def test_all_errors_are_reported_together_without_secrets() -> None:
    with pytest.raises(SettingsError) as raised:
        read(
            FARMHAUL_REDIS_URL="redis://:s3cr3t#@host",
            FARMHAUL_STORAGE_ROOTS="here",
            FARMHAUL_PATH_MAP="P:",
            FARMHAUL_SECRET_KEY="s3cr3t",
            FARMHAUL_HOOK_KEY="s3cr3t",
            FARMHAUL_SPOOL="there",
        )

    lines = str(raised.value).splitlines()
    assert {line.partition(":")[0] for line in lines} == {
        "FARMHAUL_REDIS_URL",
        "FARMHAUL_STORAGE_ROOTS",
        "FARMHAUL_PATH_MAP",
        "FARMHAUL_SECRET_KEY",
        "FARMHAUL_HOOK_KEY",
        "FARMHAUL_SPOOL",
    }
    assert "s3cr3t" not in str(raised.value)


def test_secrets_are_in_no_repr() -> None:
    key = derive_hook_key(new_secret())
    settings = read(FARMHAUL_HOOK_KEY=hook_key_text(key), FARMHAUL_REDIS_URL="redis://:s3cr3t@h")

    for shown in (repr(settings), str(settings), f"{settings}", f"{(settings,)}"):
        assert "s3cr3t" not in shown
        assert repr(key) not in shown
        assert hook_key_text(key) not in shown
