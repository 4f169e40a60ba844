"""A hook folder as a farm installs it, and a farm of one worker that takes what hooks queue."""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Farm
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
while os.path.exists({gate!r}):
    time.sleep(0.05)
{answer}
sys.exit({code})
"""


class Installed:
    """The folder /opt/farmhaul/hook of a test, and what its farmhaul was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.manifests = self.spool / "manifests"
        #: While this exists, farmhaul does not end.
        self.gate = folder / "gate"
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

    def answer(self, code: int = 0, says: str = "") -> None:
        """Let farmhaul end with *code*, having said this on stderr."""
        lines = [f"print({says!r}, file=sys.stderr)"] if says else []
        if not code:
            lines.append("""print('{"path": "x", "state": "pending"}')""")
        text = RECORDER.format(
            python=sys.executable,
            calls=str(self._calls),
            gate=str(self.gate),
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


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "hook folder")


@pytest.fixture(scope="package")
def running_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A worker as on a render node, with a spool and with paths of its own."""
    # On the shared sandbox, which tests here stop Redis of, other workers would notice.
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as sandbox:
        env = {
            "FARMHAUL_SPOOL": str(tmp_path_factory.mktemp("spool")),
            "FARMHAUL_PATH_MAP": f"W:\\={sandbox.storage}",
        }
        with Farm(sandbox, tmp_path_factory.mktemp("farm"), workers=1, env=env) as one:
            yield one


@pytest.fixture
def farm(running_farm: Farm) -> Farm:
    running_farm.wait_quiet()
    running_farm.sandbox.reset()
    return running_farm


@pytest.fixture
def out(farm: Farm) -> Path:
    """The folder that a job renders into."""
    folder = farm.sandbox.storage / uuid.uuid4().hex[:12]
    folder.mkdir()
    return folder


@pytest.fixture
def tell_p95(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Sequence[float]], None]:
    """Say how long hooks took; there is no right time on a machine that others use as well."""

    def tell(name: str, seconds: Sequence[float]) -> None:
        p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
        with capsys.disabled():
            print(f"\n{name}: p95 {p95:.2f} s, longest {max(seconds):.2f} s ({len(seconds)} hooks)")

    return tell
