"""A hook folder as a farm installs it, with a farmhaul that notes what it is called with."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.farm_hooks.stand import HOOKS, write_settings
from tests.sandbox import Sandbox

RECORDER = """\
#!{python} -S
import json, os, sys, time
given = sys.argv[1:]
manifest = open(given[given.index("--manifest") + 1]).read() if "--manifest" in given else ""
call = dict(argv=given, env=dict(os.environ), manifest=manifest, cwd=os.getcwd())
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(call) + "\\n")
time.sleep({sleep_s})
{answer}
sys.exit({code})
"""


class Installed:
    """The folder /opt/farmhaul/hook of a test, and what its farmhaul was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.manifests = self.spool / "manifests"
        self._calls = folder / "calls.jsonl"
        folder.mkdir()
        for name in ("farmhaul-hook", "farmhaul-send", "farmhaul_hook.py"):
            shutil.copy(HOOKS / "common" / name, folder)
        self.configure()
        self.answer()

    def configure(self, **settings: str) -> None:
        """Write hook.env."""
        command = str(self.folder / "farmhaul")
        known = {"FARMHAUL_COMMAND": command, "FARMHAUL_SPOOL": str(self.spool)}
        write_settings(self.folder / "hook.env", {**known, **settings})

    def answer(self, code: int = 0, says: str = "", sleep_s: float = 0) -> None:
        """Let farmhaul end with *code*, after *sleep_s*, having said this on stderr."""
        lines = [f"print({says!r}, file=sys.stderr)"] if says else []
        if not code:
            lines.append("""print('{"path": "x", "state": "pending"}')""")
        text = RECORDER.format(
            python=sys.executable,
            calls=str(self._calls),
            sleep_s=sleep_s,
            answer="\n".join(lines),
            code=code,
        )
        (self.folder / "farmhaul").write_text(text)
        (self.folder / "farmhaul").chmod(0o755)

    @property
    def calls(self) -> list[dict[str, Any]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]

    @property
    def queued(self) -> list[dict[str, Any]]:
        """The lines of all manifests that farmhaul was called with."""
        return [json.loads(line) for call in self.calls for line in call["manifest"].splitlines()]

    @property
    def left(self) -> list[Path]:
        """Manifests that lie there."""
        return sorted(self.manifests.iterdir()) if self.manifests.exists() else []

    def module(self) -> Any:
        return load(self.folder / "farmhaul_hook.py")


def load(path: Path, **values: Any) -> Any:
    """Import a script from its place, and set constants that a farm would set in it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in values.items():
        setattr(module, name, value)
    return module


def looking_up(values: Mapping[str, str]) -> Any:
    """What managers answer of keys they do not know: an empty text."""
    return lambda key: values.get(key, "")


@pytest.fixture(scope="package")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of our own: on the shared one, other workers would take our uploads."""
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "hook folder")
