"""Build farmhaul-hook.pyz: the hook as one file that any Python from 3.8 runs or imports.

    python hatch_build.py dist/farmhaul-hook.pyz

It contains tasks.intake, and what that imports of tasks.config and tasks.transfer, as a package
named farmhaul_hook: in the Python of a render manager there may be another package named tasks.
For each Python that this machine has, it also contains the bytecode of these modules, because to
compile them takes several times as long as all else that a hook does; any other Python compiles the
sources. hatchling calls this too, for the wheel. The same sources and Pythons make the same bytes.
"""

from __future__ import annotations

import ast
import base64
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
NAME = "farmhaul-hook.pyz"
#: The command, and the library.
ENTRIES = ("tasks.intake.standalone", "tasks.intake.hook")
#: The minor versions of Python 3 whose bytecode is added.
MINORS = range(8, 20)
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
#: Before 1980, a zip has no time.
TIME = (1980, 1, 1, 0, 0, 0)

PACKAGE = '''\
"""Queue finished renders for ftrack, from inside a render manager: see ``enqueue``."""

import sys
from importlib.util import MAGIC_NUMBER, spec_from_loader
from marshal import loads

__version__ = "{version}"
{names}


class Bytecode:
    """Imports all modules from one entry of the zip, for which it is in sys.path_importer_cache.

    Python would look up, open and read the zip for each of forty modules, and that takes longer
    than to run them.
    """

    def __init__(self, content):
        self.modules = loads(content)

    def find_spec(self, name, target=None):
        if name not in self.modules:
            return None
        folder = self.modules[name][0]
        spec = spec_from_loader(name, self, is_package=bool(folder))
        if folder:
            path = __path__[0] + folder
            sys.path_importer_cache[path] = self
            spec.submodule_search_locations = [path]
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(loads(self.modules[module.__name__][1]), module.__dict__)


try:
    _name = "bytecode-%d.%d-%s" % (*sys.version_info[:2], MAGIC_NUMBER.hex())
    sys.path_importer_cache[__path__[0]] = Bytecode(__loader__.get_data(__path__[0] + "/" + _name))
except OSError:
    pass  # this Python was not on the machine that built the file: it compiles the sources


def __getattr__(name):
    # Not before it is used: the command needs less of it.
    if name in __all__:
        from farmhaul_hook.intake import hook

        return getattr(hook, name)
    raise AttributeError(name)
'''
MAIN = """\
import sys

if sys.version_info < (3, 8):
    this = "%d.%d" % sys.version_info[:2]
    sys.exit("farmhaul: farmhaul-hook.pyz needs Python 3.8 or later; this one is " + this)
from farmhaul_hook.intake.exit_codes import leave
from farmhaul_hook.intake.standalone import main

leave(main())
"""

#: Run by each Python: reads a file, a module, its folder if it is a package, and a source a line;
#: writes how this Python's bytecode is named above, and that of all modules.
COMPILE = """\
import ast, base64, marshal, sys
from importlib.util import MAGIC_NUMBER
modules = {}
for line in sys.stdin:
    file, name, folder, source = ast.literal_eval(line)
    code = compile(source, file, "exec", dont_inherit=True)
    modules[name] = (folder, marshal.dumps(code))
kind = "%d.%d-%s" % (*sys.version_info[:2], MAGIC_NUMBER.hex())
print(kind, base64.b64encode(marshal.dumps(modules)).decode())
"""


def build(target: Path) -> None:
    """Write the file."""
    modules = {
        path.relative_to(ROOT / "tasks").as_posix(): _renamed(path.read_text(encoding="utf-8"))
        for path in _needed()
    }
    contents = {"__main__.py": MAIN, "farmhaul_hook/__init__.py": _package()}
    contents |= {f"farmhaul_hook/{name}": source for name, source in modules.items()}
    files = {name: content.encode("utf-8") for name, content in contents.items()}
    for python in _pythons().values():
        kind, bytecode = _compiled(python, modules)
        files[f"farmhaul_hook/bytecode-{kind}"] = bytecode
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{os.getpid()}")  # another build may read the old one
    with new.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w") as archive:
            for name in sorted(files):
                info = zipfile.ZipInfo(name, TIME)
                info.create_system = 3  # Unix, whatever builds it
                info.external_attr = 0o100644 << 16
                archive.writestr(info, files[name])
    new.chmod(0o755)
    new.replace(target)


def _package() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    library = (ROOT / "tasks" / "intake" / "hook.py").read_text(encoding="utf-8")
    [names] = re.findall(r"(?ms)^__all__ = \[.*?^\]$", library)
    return PACKAGE.format(version=project["version"], names=names)


def _pythons() -> dict[int, str]:
    """Return a Python for each minor version that is installed, on PATH or by pyenv."""
    names = [f"python3.{minor}" for minor in MINORS]
    programs = [
        sys.executable,
        *filter(None, map(shutil.which, names)),
        *sorted(str(path) for path in PYENV.glob("3.*/bin/python3")),
    ]
    found: dict[int, str] = {}
    for program in programs:
        code = "import sys; print(sys.implementation.name, sys.version_info.minor)"
        run = subprocess.run(  # noqa: S603 a list, with no shell
            [program, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
        )
        # A shim of pyenv prints an error in place of a version.
        name, _, minor = run.stdout.strip().partition(" ")
        if name == "cpython" and int(minor) in MINORS:
            found.setdefault(int(minor), program)
    return found


def _compiled(python: str, modules: dict[str, str]) -> tuple[str, bytes]:
    """Return the kind of a Python's bytecode, and that of all modules."""
    lines = []
    for file, source in modules.items():
        folder = f"/{file.removesuffix('/__init__.py')}" if file.endswith("/__init__.py") else ""
        path = folder or f"/{file.removesuffix('.py')}"
        name = f"farmhaul_hook{path.replace('/', '.')}"
        lines.append(repr((f"farmhaul_hook/{file}", name, folder, source.encode())))
    env = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run(  # noqa: S603 a list, with no shell
        [python, "-S", "-s", "-c", COMPILE],
        env={**env, "PYTHONHASHSEED": "0"},  # otherwise the items of a set have no fixed order
        cwd=ROOT.anchor,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    kind, bytecode = run.stdout.split()
    return kind, base64.b64decode(bytecode)


def _renamed(source: str) -> str:
    return re.sub(r"^(\s*(?:from|import) )tasks\b", r"\1farmhaul_hook", source, flags=re.MULTILINE)


def _needed() -> list[Path]:
    """Return the modules that the entries import, directly or not, and their packages."""
    found: set[Path] = set()
    waiting = [path for name in ENTRIES for path in _paths(name)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            for name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
                waiting += _paths(name)
    return sorted(found - {ROOT / "tasks" / "__init__.py"})


def _imports(node: ast.AST) -> Iterator[str]:
    """Yield the names of tasks' modules, and of what is imported from them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("tasks"):
            if not _paths(str(child.module)):
                raise ModuleNotFoundError(f"there is no {child.module}")
            yield str(child.module)
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.startswith("tasks."))
        yield from _imports(child)


def _paths(name: str) -> list[Path]:
    """Return the file of a module and those of its packages; none for a name in a module."""
    parts = name.split(".")
    module = ROOT.joinpath(*parts).with_suffix(".py")
    if module.exists():
        packages = range(1, len(parts))
    elif ROOT.joinpath(*parts, "__init__.py").exists():
        packages, module = range(1, len(parts) + 1), ROOT / "tasks" / "__init__.py"
    else:
        return []
    return [module, *(ROOT.joinpath(*parts[:depth], "__init__.py") for depth in packages)]


class FarmhaulHook(BuildHookInterface[Any]):
    """Adds the file to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the file; hatchling puts it where pip installs shared data."""
        target = Path(self.root, "build", NAME)
        build(target)
        build_data["shared_data"][str(target)] = f"share/farmhaul/{NAME}"


if __name__ == "__main__":
    build(Path(sys.argv[1]))
