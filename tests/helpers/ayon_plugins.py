"""AYON's own publish plug-ins, run without AYON: ynput/ayon-ftrack, and stubs of what it imports.

They are not committed here. ``SANDBOX_AYON_FTRACK`` names a checkout, otherwise git fetches it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.helpers.ftrack_suite import fetch_repository
from tests.sandbox.process import CHECKOUT

REPOSITORY = "https://github.com/ynput/ayon-ftrack"
COMMIT = "55014572c2d53fa48bc51c945914a147624464c5"
SOURCE = Path(os.environ.get("SANDBOX_AYON_FTRACK") or CHECKOUT / "build" / "ayon-ftrack")
CLIENT = SOURCE / "client" / "ayon_ftrack"


def fetch_plugins() -> str:
    """Get the checkout unless it is there; return why it cannot be had, or an empty text."""
    return "" if CLIENT.is_dir() else fetch_repository(REPOSITORY, COMMIT, SOURCE)


def integrate(session: Any, instance_data: dict[str, Any], context_data: dict[str, Any]) -> None:
    """Do what AYON does at the end of a publish: integrate one instance into ftrack."""
    context = SimpleNamespace(data={"ftrackSession": session, "fps": 24, **context_data})
    instance = SimpleNamespace(data=instance_data, context=context)
    with _modules():
        for name, plugin in (
            ("integrate_ftrack_instances", "IntegrateFtrackInstance"),
            ("integrate_ftrack_api", "IntegrateFtrackApi"),
        ):
            path = CLIENT / "plugins" / "publish" / f"{name}.py"
            getattr(_load(name, path), plugin)().process(instance)


@contextmanager
def _modules() -> Iterator[None]:
    class Plugin:
        log = logging.getLogger("ayon")

    def streams(path: str) -> list[dict[str, Any]]:
        width, height = (640, 360) if path.endswith((".jpg", ".png")) else (1920, 1080)
        return [{"codec_type": "video", "width": width, "height": height}]

    base = {"FtrackPublishInstancePlugin": Plugin}
    stubs: dict[str, dict[str, Any]] = {
        "pyblish": {},
        "pyblish.api": {"IntegratorOrder": 3},
        "ayon_core": {},
        "ayon_core.pipeline": {},
        "ayon_core.pipeline.publish": {
            "get_publish_repre_path": lambda _instance, repre, _published=False, **_: repre["path"]
        },
        "ayon_core.lib": {},
        "ayon_core.lib.ayon_info": {"get_ayon_launcher_version": lambda: "1"},
        "ayon_core.lib.transcoding": {
            "get_ffprobe_streams": streams,
            "convert_ffprobe_fps_to_float": float,
            "VIDEO_EXTENSIONS": {".mov", ".mp4"},
            "IMAGE_EXTENSIONS": {".exr", ".jpg", ".png"},
        },
        "ayon_core.lib.profiles_filtering": {"filter_profiles": lambda *_: None},
        "ayon_ftrack": {"__version__": "1"},
        "ayon_ftrack.common": {},
        "ayon_ftrack.pipeline": {"plugin": SimpleNamespace(**base)},
        "ayon_ftrack.pipeline.plugin": base,
    }
    before = dict(sys.modules)
    try:
        for name, values in stubs.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(values)
            parent, _, last = name.rpartition(".")
            if parent:
                vars(sys.modules[parent]).setdefault(last, sys.modules[name])
        _load("ayon_ftrack.common.constants", CLIENT / "common" / "constants.py")
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in ("pyblish", "ayon_core", "ayon_ftrack"):
                del sys.modules[name]


def _load(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
