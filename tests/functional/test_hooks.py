"""A hook as managers that run Python call it, with the real farmhaul behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.intake import hook
from tests.farm import Farm, wait_until
from tests.farm_hooks.stand import settings_of, write_settings


def test_a_hook_that_fires_twice_uploads_a_foreign_path_once(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = farm.sandbox.storage
    settings = settings_of(
        farm,
        FARMHAUL_PATH_MAP=rf"\\nas\prod={root};P:\={root}",
        FARMHAUL_SPOOL=str(tmp_path / "spool"),
    )
    write_settings(tmp_path / "hook.env", settings)
    monkeypatch.setenv("FARMHAUL_HOOK_ENV", str(tmp_path / "hook.env"))
    path = farm.make_file("Übersicht a b.exr", 1000)
    relative = str(path.relative_to(root)).replace("/", "\\")
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    for prefix in ("P:\\", "\\\\NAS\\prod\\", "p:\\"):
        code, text = hook.enqueue([{"path": prefix + relative, "component_id": component_id}])
        assert code == 0, text
    assert [one for one in (tmp_path / "spool").rglob("*") if one.is_file()] == []
    wait_until(lambda: farm.sandbox.ftrack.entities("ComponentLocation"))
    farm.wait_quiet()
    assert farm.sandbox.store.read(component_id) == path.read_bytes()
    assert len(farm.sandbox.store.puts(component_id)) == 1


def test_a_locale_without_utf_8_changes_no_name(farm: Farm) -> None:
    env = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    upload = farm.upload(name="Übersicht.exr", env=env)
    farm.wait_located([upload.id])
    assert farm.sandbox.store.read(upload.component_id) == upload.path.read_bytes()
