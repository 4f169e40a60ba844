"""Test the built wheel on each Python that farmhaul supports: make nox.

Each session installs the wheel, and what tests/requirements.lock pins, into an environment of
its own, and runs the quick tests in a folder that does not contain farmhaul's source. nox skips
a Python that this machine lacks, and names it at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # in CI too, where nox's default is True

ROOT = Path(__file__).resolve().parent
WHEELS = ROOT / "build" / "nox"
PYTHONS = nox.project.python_versions(nox.project.load_toml(ROOT / "pyproject.toml"))
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
# Tests that read the checkout's source or pages are in other folders.
TESTS = ("tests/unit", "tests/functional/test_uploads.py")
INSTALLED = """
import sysconfig, tasks, workers
for package in tasks, workers:
    assert package.__file__.startswith(sysconfig.get_path("purelib")), package.__file__
"""


def interpreter(version: str) -> str:
    """Return the Python of a version such as "3.13": pyenv's newest, or the one on PATH.

    pyenv is searched by folder, because its commands on PATH run only the selected version.
    """
    found = [path / "bin" / "python" for path in PYENV.glob(f"{version}.*")]
    return str(max(found, key=lambda path: path.stat().st_mtime)) if found else version


@nox.session(python=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel that the other sessions install."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    build = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(WHEELS))
    session.run(*build, str(ROOT), silent=True)


def test(session: nox.Session) -> None:
    """Run the quick tests against the installed wheel."""
    [built] = WHEELS.glob("*.whl")
    # As pip does. Python warns of a package's odd syntax once, when it compiles the file; in a
    # test, a warning is an error.
    session.env["UV_COMPILE_BYTECODE"] = "1"
    session.install("--require-hashes", "-r", "tests/requirements.lock")
    session.install("--no-deps", str(built))
    folder = Path(session.virtualenv.location) / "without-source"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree("tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("pyproject.toml", folder)
    session.chdir(folder)
    session.run("python", "-c", INSTALLED)
    # loadfile: else each process starts the sandbox and the workers of the same fixtures.
    pytest = ("python", "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile")
    session.run(*pytest, *(session.posargs or TESTS))


for version in PYTHONS:
    as_session = nox.session(
        python=interpreter(version), name=f"tests-{version}", requires=["wheel"]
    )
    as_session(test)
