"""A hook as managers that run Python call it, with the real farmhaul behind."""

from __future__ import annotations

from pathlib import Path

from tests.farm import Farm, wait_until
from tests.farm_hooks.conftest import Installed
from tests.farm_hooks.stand import settings_of


def test_a_hook_that_fires_twice_uploads_a_foreign_path_once(farm: Farm, tmp_path: Path) -> None:
    installed = Installed(tmp_path / "hook folder")
    root = farm.sandbox.storage
    installed.configure(**settings_of(farm, FARMHAUL_PATH_MAP=rf"\\nas\prod={root};P:\={root}"))
    path = farm.make_file("Übersicht a b.exr", 1000)
    relative = str(path.relative_to(root)).replace("/", "\\")
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    hook = installed.module()
    for prefix in ("P:\\", "\\\\NAS\\prod\\", "p:\\"):
        code, text = hook.enqueue([{"path": prefix + relative, "component_id": component_id}])
        assert code == 0, text
    # On a busy machine a hook goes on by itself.
    for process in hook._under_way:
        process.wait(60)
    assert not installed.left
    wait_until(lambda: farm.sandbox.ftrack.entities("ComponentLocation"))
    farm.wait_quiet()
    assert farm.sandbox.store.read(component_id) == path.read_bytes()
    assert len(farm.sandbox.store.puts(component_id)) == 1
