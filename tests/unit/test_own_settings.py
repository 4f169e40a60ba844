"""A fault in the settings or the network of this node is named as such, and is no outage."""

from __future__ import annotations

import errno
import os
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import certifi
import pytest
import urllib3

from tasks.config.remedies import explained
from tasks.config.trust import BUNDLES
from tasks.stage.retry_policy import retry_plan
from tasks.transfer.errors import OwnSettingsError, ServiceUnavailableError, UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.http import send_raw
from tasks.transfer.put import store_session
from tests.docker.certificate import make_certificate
from tests.helpers.raw_server import raw_server
from tests.helpers.skipping import skip_loudly
from tests.sandbox.process import CLOSED_PORT
from tests.unit.odd_server import OddServer, http
from workers.doctor.ftrack import _curl

LOGIN_WANTED = http("407 Proxy Authentication Required")
NOWHERE = f"127.0.0.1:{CLOSED_PORT}"


class TlsServer(socketserver.ThreadingTCPServer):
    """A server with a certificate of an authority that nobody trusts by itself."""

    daemon_threads = True

    def __init__(self, folder: Path, *names: str) -> None:
        make_certificate(names, folder / "ca.pem", folder / "server.pem")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "server.pem")
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.url = f"https://127.0.0.1:{self.server_address[1]}"

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            assert isinstance(self.server, TlsServer)
            with suppress(OSError):
                self.server.context.wrap_socket(self.request, server_side=True)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsServer]:
    with TlsServer(tmp_path, "127.0.0.1") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
    for name in (*BUNDLES, *names, *map(str.upper, names)):
        monkeypatch.delenv(name, raising=False)


def called(url: str) -> UploadError:
    """Return the error of a call of ftrack; the one of a PUT to the store must be of its kind."""
    client = FtrackClient(url, "user", "key")
    with client.session, pytest.raises(UploadError) as asked:
        client.call([])
    with store_session(1) as session, pytest.raises(UploadError) as sent:
        send_raw(session, "PUT", f"{url}/bucket/a?X-Amz-Signature=s3cr3t", {}, service="store")
    assert type(sent.value) is type(asked.value)
    for error in (asked.value, sent.value):
        for secret in ("s3cr3t", "hunter2"):
            assert secret not in explained(error)
    return asked.value


def told(url: str) -> str:
    """Return what the record says after a call of ftrack; it must be a fault of this node."""
    error = called(url)
    assert isinstance(error, OwnSettingsError)
    assert retry_plan(error)["gate"] == ""
    text = explained(error)
    assert text.startswith(f"{socket.gethostname()} cannot reach ftrack ({url}): ")
    return text


def test_a_file_of_authorities_that_vanished_is_named(
    tls: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")

    assert told(tls.url).endswith("; correct REQUESTS_CA_BUNDLE=/nonexistent.pem")


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_file_without_authorities_is_named(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    bundle = tmp_path / "empty.pem"
    bundle.write_text(content)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))

    assert told(tls.url).endswith(f"; correct CURL_CA_BUNDLE={bundle}")


def test_a_file_of_authorities_that_this_user_may_not_read_is_named(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        skip_loudly("NO FILE THAT MAY NOT BE READ WAS TRIED", "root may read any file")
    (tmp_path / "ca.pem").chmod(0)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))

    assert told(tls.url).endswith(f"; correct REQUESTS_CA_BUNDLE={tmp_path / 'ca.pem'}")


def test_a_private_authority_is_to_be_set_as_bundle(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.config.trust.SYSTEM_BUNDLES", (str(tmp_path / "ca.pem"),))

    text = told(tls.url)

    assert "an authority that it does not trust" in text
    assert "set REQUESTS_CA_BUNDLE to a file with that authority" in text
    assert f"such as that of this system, {tmp_path / 'ca.pem'}; restart" in text


def test_a_bundle_without_the_private_authority_is_named(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(["elsewhere"], tmp_path / "other.pem", tmp_path / "other-server.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))

    assert f"add the authority to REQUESTS_CA_BUNDLE={tmp_path / 'other.pem'}" in told(tls.url)


def test_a_certificate_for_another_name_is_no_fault_of_this_node(
    tls: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))

    error = called(tls.url.replace("127.0.0.1", "localhost"))

    assert isinstance(error, ServiceUnavailableError)


@pytest.mark.parametrize("scheme", ["socks", "socks5", "SOCKS5h"])
def test_a_socks_proxy_is_named_with_and_without_pysocks(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", urllib3.PoolManager)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:hunter2@proxy:1080")

    text = told("https://studio.example")

    assert "its proxy is a SOCKS proxy, which farmhaul does not support" in text
    assert f"set ALL_PROXY={scheme}://***@proxy:1080 to an http proxy, or" in text


@pytest.mark.parametrize("scheme", ["ftp", "gopher"])
def test_a_proxy_of_an_unknown_scheme_is_no_outage(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("https_proxy", f"{scheme}://user:hunter2@proxy:1080")

    text = told("https://studio.example")

    assert f"correct https_proxy={scheme}://***@proxy:1080" in text


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_is_named(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    odd.answers = [LOGIN_WANTED]
    name = f"{scheme}_proxy"
    monkeypatch.setenv(name, f"http://user:hunter2@127.0.0.1:{odd.port}")

    text = told(f"{scheme}://studio.example")

    assert "407" in text or "ProxyError" in text
    assert f"the password in {name}=http://***@127.0.0.1:{odd.port}; restart" in text


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@{NOWHERE}")

    text = told("https://studio.example")

    assert "its proxy cannot be used (ProxyError, Connection refused)" in text
    assert f"correct HTTPS_PROXY=http://***@{NOWHERE}, name the host in NO_PROXY" in text


def test_a_proxy_that_forbids_the_host_is_named(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.answers = [http("403 Forbidden")]
    monkeypatch.setenv("HTTPS_PROXY", odd.url)

    assert f"correct HTTPS_PROXY={odd.url}" in told("https://studio.example")


def test_a_proxy_that_does_not_reach_ftrack_tells_of_an_outage(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.answers = [http("503 Service Unavailable")]
    monkeypatch.setenv("HTTPS_PROXY", odd.url)

    assert isinstance(called("https://studio.example"), ServiceUnavailableError)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (socket.EAI_NONAME, "Name or service not known"),
        (socket.EAI_AGAIN, "Temporary failure in name resolution"),
    ],
)
def test_a_name_without_address_is_a_matter_of_dns(
    monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(code, words)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    text = told("https://studio.example")

    assert f"it cannot resolve that name (ConnectionError, {words})" in text
    assert text.endswith(
        "correct the DNS of that node, or correct FTRACK_SERVER=https://studio.example"
    )


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH])
def test_a_host_without_route_is_a_matter_of_the_network(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def connect(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)

    text = told("https://studio.example")

    assert f"it has no route to that host (ConnectionError, {os.strerror(code)})" in text
    assert "correct the network of that node" in text


@pytest.mark.parametrize("answer", [http("400 Bad Request"), b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_a_port_that_speaks_no_tls_is_a_wrong_address(answer: bytes) -> None:
    with raw_server(answer) as plain:
        url = f"https://127.0.0.1:{plain.port}"
        text = told(url)

    assert "what answers at that port speaks no TLS (SSLError, " in text
    assert text.endswith(f"or correct FTRACK_SERVER={url}")


def test_a_service_that_does_not_listen_is_away() -> None:
    assert isinstance(called(f"http://{NOWHERE}"), ServiceUnavailableError)


def test_a_url_of_another_scheme_is_not_taken_for_a_proxy() -> None:
    with store_session(1) as session, pytest.raises(ServiceUnavailableError):
        send_raw(session, "PUT", "ftp://127.0.0.1/a", {}, service="store")


@pytest.mark.parametrize(
    ("bundle", "url", "command"),
    [
        ("", "http://ftrack.studio", "curl -I http://ftrack.studio"),
        ("", "https://ftrack.studio", f"curl -I --cacert {certifi.where()} https://ftrack.studio"),
        ("my ca.pem", "https://ftrack.studio", "curl -I --cacert '{}' https://ftrack.studio"),
        ("authorities", "https://ftrack.studio", "curl -I --capath {} https://ftrack.studio"),
    ],
)
def test_the_step_that_doctor_names_takes_the_way_of_a_worker(
    bundle: str, url: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Curl trusts other authorities than requests."""
    for name in BUNDLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "my ca.pem").touch()
    (tmp_path / "authorities").mkdir()
    if bundle:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / bundle))

    assert _curl(url) == command.format(tmp_path / bundle)
