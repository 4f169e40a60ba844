"""What is installed: by its hash, looked up for vulnerabilities, and listed in a release."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.sandbox.process import CHECKOUT

PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *(CHECKOUT / "docs").rglob("*.md")]
INSTALLS = [*PAGES, CHECKOUT / "Makefile", CHECKOUT / "deploy/docker/Dockerfile"]


def pins(lock: str) -> dict[str, str]:
    """Return the lines of a lock, up to the next package, by the package's name and version."""
    parts = re.split(
        r"^(?=[a-z])", (CHECKOUT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return {part.split()[0]: part for part in parts if part[0].isalpha()}


def test_each_documented_installation_checks_hashes() -> None:
    lines = [
        (path.name, line.strip())
        for path in INSTALLS
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        if re.search(r"\bpip install\s+-|pip wheel", line)
    ]

    assert len(lines) >= 8
    for _, line in lines:
        # A lock with hashes; or this project or its wheel, and nothing that pip would fetch for it.
        own = "--no-deps" in line and ("--no-build-isolation" in line or "--no-index" in line)
        assert "--require-hashes" in line or own, line


def test_the_lock_of_the_build_backend_has_a_hash_for_each_package() -> None:
    build, tests = pins("deploy/build.lock"), pins("tests/requirements.lock")

    assert any(pin.startswith("hatchling==") for pin in build)
    assert build.keys() <= tests.keys()
    assert all("--hash=sha256:" in text for text in build.values())
    assert "deploy/build.lock" in (CHECKOUT / ".dockerignore").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        ("No known vulnerabilities found", 0, 0),
        ("Found 2 known vulnerabilities in 1 package", 1, 1),
        ("ERROR:pip_audit._cli:ConnectionError: Failed to resolve a name", 1, 3),
        ("WARNING: celery could not be audited", 0, 3),
        ("Traceback (most recent call last):", 1, 3),
        ("", 0, 3),
        ("", 127, 3),
    ],
)
def test_an_audit_that_could_not_tell_fails(
    said: str, code: int, expected: int, tmp_path: Path
) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    run = subprocess.run(
        [CHECKOUT / ".ci/audit"], env={"PIP_AUDIT": str(tool), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert run.returncode == expected
    assert ("NOT AUDITED" in run.stderr) is (expected == 3)
    assert said in run.stdout


def test_ci_audits_and_says_loudly_where_it_could_not() -> None:
    text = (CHECKOUT / ".ci/run").read_text(encoding="utf-8")

    assert "step .ci/audit" in text
    assert "BUT NOT AUDITED" in text.split("all steps passed")[1]


WITH_IMAGES = ("docker-compose.yml", "deploy/docker/Dockerfile", "deploy/kubernetes/redis.yaml")


def copy_images(to: Path) -> dict[str, str]:
    """Copy the script that pins images, and the files that name them; return what these say."""
    for name in (*WITH_IMAGES, "deploy/docker/pin-images.sh"):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, to / name)
    return {name: (to / name).read_text(encoding="utf-8") for name in WITH_IMAGES}


def test_images_are_pinned_to_what_their_registry_names(tmp_path: Path) -> None:
    before = copy_images(tmp_path)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()

    def pin(digest: str) -> int:
        docker.write_text(f"#!/bin/sh\necho {digest}\n", encoding="utf-8")
        docker.chmod(0o755)
        env = {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
        command = [tmp_path / "deploy/docker/pin-images.sh"]
        return subprocess.run(command, env=env, capture_output=True, check=False).returncode

    def texts() -> dict[str, str]:
        return {name: (tmp_path / name).read_text(encoding="utf-8") for name in WITH_IMAGES}

    assert pin("unauthorized") == 1
    assert texts() == before
    for digit in "ab":  # the second time, it renews what it has written
        assert pin(f"sha256:{digit * 64}") == 0
        pinned = texts()
        assert {text.replace(f"@sha256:{digit * 64}", "") for text in pinned.values()} == {
            *before.values()
        }
    found = re.findall(r"(?:image:|FROM) (\S+)@sha256:b{64}", "".join(pinned.values()))
    assert {image.partition(":")[0] for image in found} == {
        *("redis", "python", "prom/prometheus", "grafana/grafana")
    }


class Registry(BaseHTTPRequestHandler):
    """Answers as a registry does, by the paths of its manifests."""

    manifests: ClassVar[dict[str, bytes]]

    def do_GET(self) -> None:
        body = self.manifests.get(self.path, b"")
        is_asked_for_all = "manifest.list.v2+json" in str(self.headers.get_all("Accept"))
        self.send_response(200 if body and is_asked_for_all else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_images_are_pinned_to_what_a_mirror_has(tmp_path: Path) -> None:
    before = copy_images(tmp_path)
    names = {
        match[1]
        for text in before.values()
        for match in re.finditer(r"(?m)^ *(?:image:|FROM) +([a-z/]+:[\w.-]+)(?: |$)", text)
    }
    assert len(names) == 4
    Registry.manifests = {}
    server = HTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def pin() -> int:
        command = [tmp_path / "deploy/docker/pin-images.sh"]
        env = {**os.environ, "REGISTRY": f"http://127.0.0.1:{server.server_port}", "no_proxy": "*"}
        return subprocess.run(command, env=env, capture_output=True, check=False).returncode

    digests = {}
    with server:
        assert pin() == 1  # it has no image
        for number, name in enumerate(names):
            repository, _, tag = name.partition(":")
            path = repository if "/" in repository else f"library/{repository}"
            body = b'{"schemaVersion": 2, "manifests": [%d]}' % number
            Registry.manifests[f"/v2/{path}/manifests/{tag}"] = body if number else b"<html>"
            digests[name] = f"sha256:{hashlib.sha256(body).hexdigest()}"
        assert pin() == 1  # a proxy answers for one
        assert {name: (tmp_path / name).read_text("utf-8") for name in WITH_IMAGES} == before
        for place, body in Registry.manifests.items():
            if body == b"<html>":
                Registry.manifests[place] = b'{"schemaVersion": 2, "manifests": [0]}'
        assert pin() == 0
        server.shutdown()
    text = "".join((tmp_path / name).read_text("utf-8") for name in WITH_IMAGES)
    found = re.findall(r"(?m)^ *(?:image:|FROM) +([^@\s]+)@(sha256:\w{64})", text)
    assert dict(found) == digests
