"""The environment: read once, and all of its errors are reported together."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization

from tasks.config.environment import SettingsError
from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.config.settings import FtrackSettings, Settings
from tasks.transfer.allowed import check_roots
from tasks.transfer.errors import FileRefusedError
from tests.docker.certificate import make_certificate, make_client_certificate

FTRACK = {
    "FTRACK_SERVER": "https://studio.ftrackapp.com/",
    "FTRACK_API_USER": "farm",
    "FTRACK_API_KEY": "k3y",
}


def read(**environment: str) -> Settings:
    return Settings.from_environment(environment)


def faults(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read(**environment)
    return str(raised.value).splitlines()


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = read()

    assert settings == Settings("redis://localhost:6379/0")
    assert settings.storage_roots == ()
    assert (settings.lease_s, settings.record_days) == (60, 14)


def test_everything_is_read(tmp_path: Path) -> None:
    key, other = Fernet.generate_key().decode(), Fernet.generate_key().decode()

    settings = read(
        FARMHAUL_REDIS_URL="rediss://:p%2Fw@redis.studio:6380/2",
        FARMHAUL_STORAGE_ROOTS=f"{tmp_path}::/mnt",
        FARMHAUL_PATH_MAP="P:\\=/mnt/prod;Q:\\=/mnt/cache;",
        FARMHAUL_SECRET_KEY=f" {key} , {other},",
        FARMHAUL_LEASE_SECONDS="2.5",
        FARMHAUL_RECORD_DAYS="30",
        FARMHAUL_CONNECTIONS="12",
        FARMHAUL_SPOOL="/var/spool/farmhaul",
        **FTRACK,
    )

    assert settings == Settings(
        redis_url="rediss://:p%2Fw@redis.studio:6380/2",
        storage_roots=(str(tmp_path.resolve()), "/mnt"),
        path_map=(("P:\\", "/mnt/prod"), ("Q:\\", "/mnt/cache")),
        secret_keys=(key, other),
        lease_s=2.5,
        record_days=30,
        connections=12,
        spool="/var/spool/farmhaul",
        ftrack=FtrackSettings("https://studio.ftrackapp.com", "farm", "k3y"),
    )


def test_secrets_are_in_no_repr() -> None:
    key = Fernet.generate_key().decode()

    shown = repr(read(FARMHAUL_SECRET_KEY=key, FARMHAUL_REDIS_URL="redis://:pw@h/0", **FTRACK))

    for secret in (key, "k3y", "pw@"):
        assert secret not in shown


def test_roots_have_their_symlinks_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    roots = read(FARMHAUL_STORAGE_ROOTS=f"/none:{tmp_path}/link").storage_roots
    path = f"{tmp_path}/link/a.exr"

    check_roots(path, str(tmp_path.resolve() / "real/a.exr"), roots)
    with pytest.raises(FileRefusedError, match="outside the storage roots"):
        check_roots(path, str(tmp_path.resolve() / "really/a.exr"), roots)


def test_a_root_that_hangs_holds_up_no_file_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(path: str) -> str:
        raise AssertionError(f"{path} is looked at")

    monkeypatch.setattr("os.path.realpath", hang)
    roots = read(FARMHAUL_STORAGE_ROOTS="/mnt/dead:/mnt/prod").storage_roots

    check_roots("/mnt/prod/a.exr", "/mnt/prod/a.exr", roots)


def test_a_worker_says_which_root_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers, really = threading.Event(), os.path.isdir
    monkeypatch.setattr("tasks.config.settings.ROOT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(
        "os.path.isdir", lambda path: really(path) if path != "/dead" else answers.wait()
    )
    environment = {**FTRACK, "FARMHAUL_STORAGE_ROOTS": f"{tmp_path}:/dead"}
    try:
        with pytest.raises(SettingsError) as caught:
            Settings.from_environment(environment, for_worker=True)
    finally:
        answers.set()
    assert str(caught.value) == (
        "FARMHAUL_STORAGE_ROOTS: /dead: it does not answer; look at its mount on this node"
    )


def test_redis_may_be_behind_sentinels() -> None:
    url = "sentinel://:pw@one:26379,two/farm/3"

    assert read(FARMHAUL_REDIS_URL=url).redis_url == url


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1:1", "http://[::1]:5"])
def test_http_is_allowed_on_loopback(url: str) -> None:
    assert read(**{**FTRACK, "FTRACK_SERVER": url}).require_ftrack().server_url == url


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FARMHAUL_REDIS_URL", "localhost:6379", "is not a Redis URL"),
        ("FARMHAUL_REDIS_URL", "http://host/0", "write redis://host:6379/0, rediss://"),
        ("FARMHAUL_REDIS_URL", "redis://", "is not a Redis URL"),
        ("FARMHAUL_REDIS_URL", "redis://[host", "is not a Redis URL"),
        ("FARMHAUL_REDIS_URL", "redis://host:port/0", "is not a Redis URL"),
        ("FARMHAUL_REDIS_URL", "redis://host:99999/0", "a port that is not from 1"),
        ("FARMHAUL_REDIS_URL", "redis://host:0/0", "a port that is not from 1"),
        ("FARMHAUL_REDIS_URL", "redis://host/db", "is not a Redis URL"),
        ("FARMHAUL_REDIS_URL", "redis://:pa/s3cr3t@host/0", "%2F for /"),
        ("FARMHAUL_REDIS_URL", "redis://s3cr3t", None),
        ("FARMHAUL_REDIS_URL", "sentinel://:s3cr3t@host:1", "write sentinel://host:26379"),
        ("FARMHAUL_STORAGE_ROOTS", "/mnt:relative/path", "'relative/path' is not an absolute path"),
        (
            "FARMHAUL_STORAGE_ROOTS",
            "P:\\prod",
            "'P' is not an absolute path; write such paths with :",
        ),
        ("FARMHAUL_PATH_MAP", "P:\\", "does not map a folder to an absolute path; write P:\\=/mnt"),
        ("FARMHAUL_PATH_MAP", "=/mnt/prod", "'=/mnt/prod' does not map a folder"),
        ("FARMHAUL_PATH_MAP", "P:\\=", "'P:\\\\=' does not map a folder"),
        ("FARMHAUL_PATH_MAP", "P:\\=/a;Q:=/b;P:=/c", "'P:' has the folders /a and /c; leave one"),
        ("FARMHAUL_LOCATIONS", "disk=/a;disk=/b", "'disk' has the folders /a and /b; leave one"),
        ("FARMHAUL_PATH_MAP", "P:\\=mnt", "does not map a folder to an absolute path"),
        ("FARMHAUL_SECRET_KEY", "s3cr3t", "key 1 is not a Fernet key"),
        ("FARMHAUL_SECRET_KEY", "A" * 43 + "=,s3cr3t", "key 2 is not a Fernet key"),
        ("FARMHAUL_SECRET_KEY", ",", "contains no key"),
        ("FARMHAUL_LEASE_SECONDS", "0", "'0' is not a number above 0"),
        ("FARMHAUL_LEASE_SECONDS", "-5", "is not a number above 0"),
        ("FARMHAUL_LEASE_SECONDS", "a minute", "is not a number above 0"),
        ("FARMHAUL_LEASE_SECONDS", "inf", "is not a number above 0"),
        ("FARMHAUL_LEASE_SECONDS", "9" * 400, "is not a number above 0"),
        ("FARMHAUL_RECORD_DAYS", "0.0", "is not a number above 0"),
        ("FARMHAUL_RECORD_DAYS", "nan", "is not a number above 0"),
        ("FARMHAUL_CONNECTIONS", "0", "is not a whole number from 1 to 999"),
        ("FARMHAUL_CONNECTIONS", "0.5", "is not a whole number"),
        ("FARMHAUL_CONNECTIONS", "1000", "is not a whole number"),
        ("FARMHAUL_SPOOL", "spool", "'spool' is not an absolute path"),
    ],
)
def test_a_bad_value_is_reported_with_its_name_and_a_good_one(
    name: str, value: str, said: str | None
) -> None:
    if said is None:  # a host like any other
        read(**{name: value})
        return

    [line] = faults(**{name: value})

    assert line.startswith(f"{name}: ")
    assert said in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("studio.ftrackapp.com", "is not a server URL"),
        ("ftp://studio", "write https://studio.ftrackapp.com"),
        ("https://", "is not a server URL"),
        ("https://[studio", "is not a server URL"),
        ("https://studio:port", "is not a server URL"),
        ("https://studio..ftrackapp.com", "is not a server URL"),
        ("https://studio ftrackapp.com", "is not a server URL"),
        ("https://<studio>.ftrackapp.com", "is not a server URL"),
        ("https://studio.ftrackapp.com;https://b", "is not a server URL"),
        (
            "https://studio.\nftrackapp.com",
            "is not a server URL; write https://studio.ftrackapp.com",
        ),
        ("studio\nb", "'studio\\nb' is not a server URL; write https://studio.ftrackapp.com"),
        ("https://'studio.ftrackapp.com'", "is not a server URL"),
        ("https://studio/?key=s3cr3t", "is not a server URL"),
        ("https://studio/#a", "is not a server URL"),
        ("https://user:s3cr3t@studio", "use FTRACK_API_USER and FTRACK_API_KEY"),
        ("user:s3cr3t@studio", "use FTRACK_API_USER and FTRACK_API_KEY"),
        ("studio:443", "'studio:443' is not a server URL; write https://studio:443"),
        ("https://studio/api/", "has the path '/api/'; write https://studio"),
        ("https://studio/player/version/1", "write https://studio"),
        ("http://studio.ftrackapp.com", "would send the API key unencrypted; write https"),
        ("http://127.0.0.1.evil.com", "unencrypted"),
    ],
)
def test_a_bad_server_is_refused_with_a_good_example(server: str, said: str) -> None:
    [line] = faults(**{**FTRACK, "FTRACK_SERVER": server})

    assert line.startswith("FTRACK_SERVER: ")
    assert said in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize("name", ["FTRACK_API_USER", "FTRACK_API_KEY"])
def test_credentials_that_do_not_fit_into_a_header_are_refused(name: str) -> None:
    [line] = faults(**{**FTRACK, name: "s3cr3t\nEvil: header"})

    assert line.startswith(f"{name}: contains characters ")
    assert "s3cr3t" not in line


def test_an_incomplete_ftrack_login_is_refused_by_what_is_missing() -> None:
    [line] = faults(FTRACK_SERVER="https://studio.ftrackapp.com")
    assert line.startswith("FTRACK_API_USER and FTRACK_API_KEY are not set; ")


def test_only_a_worker_needs_the_ftrack_settings() -> None:
    with pytest.raises(SettingsError, match="a worker needs all three"):
        read().require_ftrack()


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    lines = faults(
        FARMHAUL_REDIS_URL="nonsense",
        FARMHAUL_STORAGE_ROOTS="here",
        FARMHAUL_PATH_MAP="P:",
        FARMHAUL_SECRET_KEY="short",
        FARMHAUL_LEASE_SECONDS="soon",
        FARMHAUL_RECORD_DAYS="never",
        FARMHAUL_CONNECTIONS="many",
        FARMHAUL_SPOOL="there",
        FTRACK_SERVER="nowhere",
        FTRACK_API_USER="farm",
        FTRACK_API_KEY_FILE=str(tmp_path / "missing"),
    )

    assert [re.split(":| is ", line)[0] for line in lines] == [
        "FARMHAUL_REDIS_URL",
        "FARMHAUL_STORAGE_ROOTS",
        "FARMHAUL_PATH_MAP",
        "FARMHAUL_SECRET_KEY",
        "FARMHAUL_LEASE_SECONDS",
        "FARMHAUL_RECORD_DAYS",
        "FARMHAUL_CONNECTIONS",
        "FARMHAUL_SPOOL",
        "FTRACK_API_KEY_FILE",
        "FTRACK_SERVER",
        "FTRACK_API_KEY",
    ]


# NAME_FILE


def test_a_secret_is_read_from_the_file_in_name_file(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("from the file\n")
    environment = {**FTRACK, "FTRACK_API_KEY": "", "FTRACK_API_KEY_FILE": str(secret)}

    assert read(**environment).require_ftrack().api_key == "from the file"


def test_the_file_of_the_url_for_notices_may_be_empty(tmp_path: Path) -> None:
    """Docker Compose mounts it in each farm, also where nobody wants notices."""
    (tmp_path / "notify_url").write_text("")

    assert read(FARMHAUL_NOTIFY_URL_FILE=str(tmp_path / "notify_url")).notify_url == ""


def test_a_value_and_a_file_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("other s3cr3t")
    environment = {**FTRACK, "FTRACK_API_KEY_FILE": str(tmp_path / "key")}

    [line] = faults(**environment)

    assert line == "FTRACK_API_KEY and FTRACK_API_KEY_FILE are both set; unset one of them"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "code page").write_bytes("geheim\r\nä".encode("cp1252"))
    (tmp_path / "binary").write_bytes("s3cr3t".encode("utf-16-le"))
    (tmp_path / "empty").write_text("\n")

    [line] = faults(FARMHAUL_REDIS_URL_FILE="redis://:s3cr3t@host")
    assert line.endswith(
        "cannot read that file, whose path is not absolute: No such file or directory"
    )
    for name, why in (
        ("missing", "cannot read {}: No such file or directory"),
        ("", "cannot read {}: Is a directory"),
        ("\0", "cannot read {}\\x00: it is not the path of a file"),
        (
            "code page",
            "cannot read {}: it is not UTF-8 text (line 2, byte 1), perhaps",
        ),
        ("binary", "cannot read {}: it has zero bytes, as UTF-16 without a byte order mark; save"),
        ("/dev/zero", "cannot read {}: it has more than 1 MiB; is it the right file?"),
        ("empty", "{} is empty; write the value into it"),
    ):
        path = str(tmp_path / name)
        [line] = faults(FARMHAUL_SECRET_KEY_FILE=path)
        assert line.startswith(f"FARMHAUL_SECRET_KEY_FILE: {why.format(path.rstrip(chr(0)))}")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfk3y\r\n",
        "k3y\r\n".encode("utf-16"),
        b"\xfe\xff" + "k3y\r\n".encode("utf-16-be"),
        "k3y\r".encode("utf-32"),
        b"\0\0\xfe\xff" + "k3y".encode("utf-32-be"),
        b"k3y",
    ],
    ids=["utf-8 with a mark", "utf-16", "utf-16 big-endian", "utf-32", "utf-32 be", "plain"],
)
def test_a_secret_may_be_written_by_a_windows_program(tmp_path: Path, content: bytes) -> None:
    secret = tmp_path / "key"
    secret.write_bytes(content)
    environment = {**FTRACK, "FTRACK_API_KEY": "", "FTRACK_API_KEY_FILE": str(secret)}

    assert read(**environment).require_ftrack().api_key == "k3y"


# Borders


def test_numbers_at_their_limits_are_accepted() -> None:
    assert read(FARMHAUL_CONNECTIONS="1").connections == 1
    assert read(FARMHAUL_CONNECTIONS="999").connections == 999
    assert read(FARMHAUL_LEASE_SECONDS="0.000000001").lease_s == 1e-9
    assert read(FARMHAUL_LEASE_SECONDS="9" * 9).lease_s == 999_999_999
    for longer in ("9" * 10, "0.0000000001"):
        [line] = faults(FARMHAUL_LEASE_SECONDS=longer)
        assert longer in line


def test_a_key_has_exactly_44_characters() -> None:
    assert read(FARMHAUL_SECRET_KEY="A" * 43 + "=").secret_keys == ("A" * 43 + "=",)
    for key in ("A" * 42 + "=", "A" * 44 + "="):
        assert "key 1 is not a Fernet key" in faults(FARMHAUL_SECRET_KEY=key)[0]


def test_a_variable_with_a_default_has_the_documented_one() -> None:
    settings = read()

    assert (settings.connections, settings.spool, settings.log_format) == (32, "", "console")
    assert settings.events is False


@pytest.mark.parametrize(("text", "events"), [("on", True), ("off", False)])
def test_events_are_on_or_off(text: str, *, events: bool) -> None:
    assert read(FARMHAUL_FTRACK_EVENTS=text).events is events
    assert "'yes' " in faults(FARMHAUL_FTRACK_EVENTS="yes")[0]


def test_locations_have_folders() -> None:
    settings = read(FARMHAUL_LOCATIONS="disk=/mnt/prod/;a b=/mnt/x=y", FARMHAUL_ALSO_IN="a b")
    assert settings.locations == (("disk", "/mnt/prod"), ("a b", "/mnt/x=y"))
    assert settings.also_in == "a b"
    for text in ("disk", "disk=mnt", "=/mnt"):
        assert "does not name a location and its folder" in faults(FARMHAUL_LOCATIONS=text)[0]
    assert "is not the name of a location" in faults(FARMHAUL_ALSO_IN="a\nb")[0]


# What contradicts something else, or does not exist


@pytest.mark.parametrize(
    "spelling",
    [
        "https://studio.ftrackapp.com",
        "https://studio.ftrackapp.com/",
        "HTTPS://Studio.FTrackApp.com//",
        "https://studio.ftrackapp.com:443",
        "https://studio.ftrackapp.com:/",
        "https://studio.ftrackapp.com.",
        "  https://studio.ftrackapp.com\t",
    ],
)
def test_all_spellings_of_a_server_are_one(spelling: str) -> None:
    settings = read(**{**FTRACK, "FTRACK_SERVER": spelling})

    assert settings.require_ftrack().server_url == "https://studio.ftrackapp.com"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FARMHAUL_STORAGE_ROOT", "did you mean FARMHAUL_STORAGE_ROOTS?"),
        ("FARMHAUL_REDIS_URI", "did you mean FARMHAUL_REDIS_URL?"),
        ("FARMHAUL_SECRET_KEYS_FILE", "did you mean FARMHAUL_SECRET_KEY_FILE?"),
        ("FARMHAUL_LEASE", "did you mean FARMHAUL_LEASE_SECONDS?"),
        ("FARMHAUL_Spool", "did you mean FARMHAUL_SPOOL?"),
        ("FARMHAUL_COLOUR", "unset it"),
    ],
)
def test_a_misspelt_variable_is_named_without_its_value(name: str, said: str) -> None:
    assert faults(**{name: "s3cr3t"}) == [f"{name} is not a variable of farmhaul; {said}"]


def test_a_hook_key_of_another_farm_is_refused() -> None:
    secret, other = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    key = hook_key_text(derive_hook_key(secret))
    read(FARMHAUL_SECRET_KEY=f"{other},{secret}", FARMHAUL_HOOK_KEY=key)

    [line] = faults(FARMHAUL_SECRET_KEY=other, FARMHAUL_HOOK_KEY=key)

    assert line.startswith("FARMHAUL_HOOK_KEY: is not made from FARMHAUL_SECRET_KEY")
    assert key not in line


def test_records_must_outlive_a_lease() -> None:
    [line] = faults(FARMHAUL_RECORD_DAYS="0.001", FARMHAUL_LEASE_SECONDS="90")

    assert line.startswith("FARMHAUL_RECORD_DAYS: 0.001 days are shorter than the 90 s of FARM")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read {}: No such file or directory"),
        (b"", "{} has no certificate or key in PEM form"),
        ("PEM".encode("utf-16"), "{} has no certificate or key in PEM form"),
    ],
)
@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_that_requests_cannot_use_is_named(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)

    [line] = faults(**FTRACK, **{name: str(bundle)})

    assert line.startswith(f"{name}: {said.format(bundle)}; correct it, or unset it")
    read(**{name: str(bundle)})  # this node calls nothing by HTTPS


def test_a_bundle_that_is_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")

    [line] = faults(**FTRACK, REQUESTS_CA_BUNDLE=str(tmp_path / "ca.pem"))

    assert line.startswith(f"REQUESTS_CA_BUNDLE: {tmp_path}/ca.pem is not a file; correct it")


def test_a_bundle_of_certificates_is_accepted(tmp_path: Path) -> None:
    make_certificate(["localhost"], tmp_path / "ca.pem", tmp_path / "server.pem")

    [line] = faults(**FTRACK, REQUESTS_CA_BUNDLE=str(tmp_path))
    (tmp_path / "0a1b2c3d.0").symlink_to("ca.pem")

    assert "openssl rehash" in line
    for bundle in (tmp_path / "ca.pem", tmp_path):
        assert read(**FTRACK, REQUESTS_CA_BUNDLE=str(bundle)).ftrack


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("socks5://u:s3cr3t@proxy:1080", "socks5://***@proxy:1080 is a SOCKS proxy"),
        ("http://u:s3cr3t@proxy:port", "is not the URL of a proxy; write http://proxy.studio"),
        ("u:s3cr3t@proxy:3128", "is not the URL of a proxy; write http://proxy.studio"),
        ("http://u:s3cr3t@proxy:3128 ", "is not the URL of a proxy; write http://proxy.studio"),
        ("http://u:s3cr3t@proxy..studio", "is not the URL of a proxy; write http://proxy.studio"),
        ("ftp://u:s3cr3t@proxy:21", "ftp is no scheme of a proxy; write http://proxy.studio"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(value: str, said: str) -> None:
    [line] = faults(**FTRACK, ALL_PROXY=value)

    assert line.startswith(f"ALL_PROXY: {said}")
    assert "s3cr3t" not in line
    read(**FTRACK, ALL_PROXY="proxy.studio:3128")


@pytest.mark.parametrize(
    "others",
    [
        {"no_proxy": "*"},
        {"NO_PROXY": "localhost,.ftrackapp.com"},
        {"https_proxy": "http://proxy.studio:3128"},
        {"all_proxy": ""},
    ],
)
def test_a_proxy_that_is_not_used_for_ftrack_is_not_judged(others: dict[str, str]) -> None:
    assert read(**FTRACK, ALL_PROXY="socks5://proxy:1080", **others).ftrack
    assert faults(**FTRACK, ALL_PROXY="socks5://proxy:1080", no_proxy="other.studio")


@pytest.mark.parametrize(
    ("parameter", "file", "said"),
    [
        ("ssl_ca_certs", "none.pem", "ssl_ca_certs: cannot read {}: No such file or directory"),
        ("ssl_ca_certs", "empty.pem", "ssl_ca_certs: {} has no certificate or key in PEM form"),
        ("ssl_ca_certs", "fifo", "ssl_ca_certs: {} is not a file"),
        ("ssl_certfile", "none.pem", "ssl_certfile: cannot read {}: No such file or directory"),
        ("ssl_certfile", "empty.pem", "ssl_certfile: {} has no certificate or key in PEM form"),
        ("ssl_certfile", "key.pem", "ssl_certfile: {} is not a PEM certificate with a key"),
        ("ssl_ca_certs", "key.pem", "ssl_ca_certs: {} has no certificate in PEM form"),
        ("ssl_certfile", "pkcs8.pem", "ssl_certfile: {} has a key with a pass phrase; openssl pk"),
        ("ssl_certfile", "older.pem", "ssl_certfile: {} has a key with a pass phrase; openssl pk"),
    ],
)
def test_the_files_of_a_redis_url_are_read(
    tmp_path: Path, parameter: str, file: str, said: str
) -> None:
    (tmp_path / "empty.pem").touch()
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "pkcs8.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    (tmp_path / "older.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n")
    os.mkfifo(tmp_path / "fifo")
    url = f"rediss://:s3cr3t@host/0?{parameter}={tmp_path / file}"

    [line] = faults(FARMHAUL_REDIS_URL=url)

    assert line.startswith(f"FARMHAUL_REDIS_URL: {said.format(tmp_path / file)}")


def test_nobody_is_asked_for_the_pass_phrase_of_a_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own, key = tmp_path / "own.pem", tmp_path / "own.key"
    make_client_certificate(own)
    plain = serialization.load_pem_private_key(own.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key.write_bytes(plain.private_bytes(*form, serialization.BestAvailableEncryption(b"hush")))

    [line] = faults(FARMHAUL_REDIS_URL=f"rediss://host?ssl_certfile={own}&ssl_keyfile={key}")

    assert line.startswith(f"FARMHAUL_REDIS_URL: ssl_keyfile: {key} has a key with a pass phrase; ")
    assert capfd.readouterr().err == ""


def test_the_authorities_of_the_environment_are_read_for_redis_too() -> None:
    [line] = faults(FARMHAUL_REDIS_URL="rediss://host", SSL_CERT_FILE="/none.pem")

    assert line == "SSL_CERT_FILE: cannot read /none.pem: No such file or directory"
    read(FARMHAUL_REDIS_URL="redis://host", SSL_CERT_FILE="/none.pem")


def test_a_worker_is_told_that_it_has_no_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    # Python would take any of several folders of this machine.
    monkeypatch.setattr("tempfile.gettempdir", refuse)
    environment = {**FTRACK, "FARMHAUL_STORAGE_ROOTS": str(tmp_path)}
    with pytest.raises(SettingsError, match="TMPDIR: no folder"):
        Settings.from_environment(environment, for_worker=True)
    assert Settings.from_environment(environment).storage_roots == (str(tmp_path),)


def test_a_worker_is_told_all_that_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({"FARMHAUL_CONNECTIONS": "many"}, for_worker=True)
    said = [line.partition(" ")[0] for line in str(raised.value).splitlines()]
    assert said == ["FARMHAUL_CONNECTIONS:", "FTRACK_SERVER,", "FARMHAUL_STORAGE_ROOTS"]

    roots = f"{tmp_path}:{tmp_path}/none:{__file__}"
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({**FTRACK, "FARMHAUL_STORAGE_ROOTS": roots}, for_worker=True)
    missing, file = str(raised.value).splitlines()
    assert missing.startswith(f"FARMHAUL_STORAGE_ROOTS: {tmp_path}/none: No such file or directory")
    assert file == f"FARMHAUL_STORAGE_ROOTS: {Path(__file__).resolve()} is not a folder"
    for mark in ",; ":
        environment = {**FTRACK, "FARMHAUL_STORAGE_ROOTS": f"{tmp_path}{mark}{tmp_path}"}
        with pytest.raises(SettingsError, match="write : between folders"):
            Settings.from_environment(environment, for_worker=True)


def test_a_wrong_mark_between_the_roots_is_named_with_a_refused_file() -> None:
    file = "/mnt/cache/a.exr"
    with pytest.raises(FileRefusedError, match="/mnt/prod;/mnt/cache, where : separates folders"):
        check_roots(file, file, read(FARMHAUL_STORAGE_ROOTS="/mnt/prod;/mnt/cache").storage_roots)
