"""The Pythons of this machine that can run a hook, and a folder with what a hook imports."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
from pathlib import Path

import tasks
from tests.helpers.skipping import skip_loudly

#: The minor versions of Python 3 that hooks run on.
MINORS = range(8, 15)
#: The folder of the package ``tasks``: the checkout, or where its wheel is installed.
SOURCE = Path(str(tasks.__file__)).resolve().parents[1]
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"


@functools.cache
def pythons() -> dict[int, str]:
    """Return one Python for each minor version that is installed, by pyenv or on PATH."""
    found: dict[int, str] = {}
    names = [shutil.which(f"python3.{minor}") for minor in MINORS]
    for program in [*map(str, sorted(PYENV.glob("*/bin/python3"))), *filter(None, names)]:
        code = "import sys; print(*sys.version_info[:2])"
        run = subprocess.run([program, "-c", code], capture_output=True, text=True, timeout=60)
        # A shim of pyenv prints an error in place of a version.
        major, _, minor = run.stdout.strip().partition(" ")
        if major == "3" and int(minor) in MINORS:
            found.setdefault(int(minor), program)
    return found


def python(minor: int) -> str:
    """Return Python 3.*minor*; without one, skip the test."""
    if minor not in pythons():
        skip_loudly(f"NOTHING WAS TESTED WITH PYTHON 3.{minor}", "it is not installed here")
    return pythons()[minor]


@functools.cache
def hook_modules() -> frozenset[str]:
    """Return ``tasks.intake``, the settings of a hook, and all that they import of farmhaul."""
    waiting = [
        "tasks.config.hook_settings",
        *map(_dotted, sorted((SOURCE / "tasks" / "intake").glob("*.py"))),
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found and (path := _path(name)) is not None:
            found.add(name)
            waiting += [name.rpartition(".")[0], *_imported_by(path)]
    return frozenset(found)


def copy_hook(folder: Path) -> Path:
    """Copy what a hook imports, and nothing else, into a folder."""
    for path in filter(None, map(_path, hook_modules())):
        copy = folder / path.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder


def _dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _path(name: str) -> Path | None:
    path = SOURCE.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if name and file.is_file()), None)


def _imported_by(path: Path) -> list[str]:
    """Return the modules that a module imports when it runs, at its top or later."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types:
            names += [str(node.module), *(f"{node.module}.{it.name}" for it in node.names)]
        elif isinstance(node, ast.Import) and id(node) not in for_types:
            names += [it.name for it in node.names]
    return names
