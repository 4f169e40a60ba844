"""The released files: builds are reproducible, and the installed command works."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

import pytest

from tests.helpers.skipping import is_network_down, skip_loudly

ROOT = Path(__file__).resolve().parent.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PACKAGED = (
    "tasks",
    "workers",
    "hatch_build.py",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    ".gitignore",
)


def build(folder: Path, umask: int, epoch: str) -> dict[str, str]:
    """Build a copy of the project, and return the SHA-256 of each built file by its name.

    The copy's modes and times differ from the checkout's, as those of another checkout do.

    Args:
        folder: where the copy and the built files are written.
        umask: the umask of the checkout.
        epoch: the time of all files, in seconds since 1970.
    """
    copy = folder / "checkout"
    copy.mkdir(parents=True)
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(ROOT / name, copy / name)
    for path in copy.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
        os.utime(path, (int(epoch), int(epoch)))
    run = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copy],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((folder / "dist").iterdir())
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("release")
    return folder / "dist", build(folder, 0o022, "1700000000")


@pytest.mark.slow
def test_each_build_gives_the_same_bytes(
    built: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    again = build(tmp_path / "elsewhere", 0o077, "1500000000")

    assert again == built[1]
    assert set(again) == {f"farmhaul-{VERSION}.tar.gz", f"farmhaul-{VERSION}-py3-none-any.whl"}


@pytest.mark.slow  # the first time, pip installs what makes the list
@pytest.mark.timeout(600)
def test_a_release_lists_its_packages_with_their_hashes() -> None:
    dist = subprocess.run(
        ["make", "--dry-run", "dist"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert -1 < dist.find("farmhaul.cdx.json") < dist.find("> SHA256SUMS")
    installed = subprocess.run(
        ["make", ".venv/audit/.installed"], cwd=ROOT, capture_output=True, text=True
    )
    if installed.returncode and is_network_down(installed.stderr + installed.stdout):
        skip_loudly("NO SBOM WAS MADE", f"its tools cannot be installed: {installed.stderr}")
    assert installed.returncode == 0, installed.stderr
    made = subprocess.run(["make", "sbom"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    listed = json.loads((ROOT / "dist/farmhaul.cdx.json").read_text(encoding="utf-8"))
    assert listed["bomFormat"] == "CycloneDX"
    found = {f"{one['name']}=={one['version']}": one for one in listed["components"]}
    lock = (ROOT / "deploy/requirements.lock").read_text(encoding="utf-8")
    locked = re.findall(r"(?m)^([\w.-]+==[\w.+-]+)", lock)
    assert len(locked) > 10
    assert set(found) == set(locked)
    for one in found.values():
        assert any(reference.get("hashes") for reference in one["externalReferences"]), one["name"]


@pytest.mark.slow  # half a minute, nearly all of it pip's
def test_the_wheel_works_in_an_empty_environment(
    built: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    [wheel] = built[0].glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip: list[str | Path] = [
        tmp_path / "venv/bin/pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    lock = ROOT / "deploy" / "requirements.lock"
    subprocess.run([*pip, "--require-hashes", "-r", lock], check=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FARMHAUL", "PYTHON", "COV"))}

    def farmhaul(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "venv/bin/farmhaul", *arguments],
            cwd=tmp_path,
            env={**kept, "FARMHAUL_STORAGE_ROOTS": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    refused = farmhaul("enqueue", str(tmp_path / "none.exr"), "--component-id", str(uuid.uuid4()))

    assert VERSION in farmhaul("--version").stdout
    assert "enqueue" in farmhaul("--help").stdout
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no such file" in refused.stderr
    assert "Traceback" not in refused.stderr
