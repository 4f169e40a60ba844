"""What becomes of an entry: the path in its record, and the names that fetch gives back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from tasks.config.hook_settings import HookSettings
from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.from_wire import from_wire
from tasks.intake.manifest import Entry
from tasks.intake.request import PublishRequest
from tasks.intake.wire import to_wire
from tasks.transfer.existing import NOTHING_YET
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.lookup import find_files
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.publish_posts import publish_operations
from tasks.transfer.registration import locate_operations
from tests.sandbox import seed
from tests.sandbox.caller import Caller
from tests.sandbox.encoding import Encoder
from tests.sandbox.entities import Entities
from tests.sandbox.operations import Operations
from tests.sandbox.schemas import load_schemas

VERSION = "9f1d4c1e-7a3b-4a55-8a5e-0c9b6a1f2e3d"
MAP = "P:\\=/mnt/prod;\\\\nas\\vol=/mnt/vol"


def recorded(path: str, root: str | Path = "/mnt", *, look: bool = False) -> str:
    """Return the path that the record of an upload gets."""
    settings = HookSettings.from_environment(
        {"FARMHAUL_STORAGE_ROOTS": str(root), "FARMHAUL_PATH_MAP": MAP}
    )
    [request] = build_requests([Entry(path, version_id=VERSION)], settings, Options(stat=look))
    return request.path


class Server:
    """The stand-in's engine, in this process."""

    def __init__(self) -> None:
        self.entities = Entities(load_schemas(None))
        encoder = Encoder(self.entities, 0, lambda _: None)
        self.operations = Operations(self.entities, None, "", encoder)
        self.clear()

    def clear(self) -> None:
        self.entities.clear()
        seed.seed(self.entities)

    def call(self, operations: list[dict[str, Any]]) -> list[Any]:
        return self.operations.run(
            operations, Caller(seed.USER_ID, may_write=True, url_lifetime_s=9)
        )


SERVER = Server()


def given_back(path: str | Path, name: str | None, root: str) -> list[str]:
    """Return the names that fetch gives to the files of an entry, once they are in ftrack."""
    entry = Entry(str(path), version_id=seed.VERSION_ID, name=name, where="line 1: ")
    settings = Settings("", storage_roots=(root,))
    [built] = build_requests([entry], settings, Options(allow_missing=True))
    request = from_wire(to_wire(built))
    SERVER.clear()
    if isinstance(request, PublishRequest):
        files = [transfer(file.target, file.path) for file in request.files]
        for post in publish_operations(request.publish, files, NOTHING_YET):
            SERVER.call(post)
    else:
        SERVER.call(locate_operations(transfer(request.target, request.path)))
    found = find_files(cast("FtrackClient", SERVER), [request.component_id])
    return sorted(file.name for file in found)


def transfer(target: Any, path: str) -> Transfer:
    return Transfer("u", target, path, identity=FileIdentity(1, 1, 1, 1), checksum="md5")


@contextlib.contextmanager
def folder_with(folder: str, names: Iterable[str]) -> Iterator[Path]:
    with TemporaryDirectory() as root:
        where = Path(root, folder)
        where.mkdir()
        for name in names:
            (where / name).write_bytes(b"x")
        yield where
