"""The values that travel from stage to stage: ids, paths, sizes and tags, never bytes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

#: ftrack.server, the location whose files are in ftrack's media store
#: (ftrack-python, ``source/ftrack_api/symbol.py``).
SERVER_LOCATION_ID = "3a372bde-05bc-11e4-8908-20c9d081909b"

MIB = 1 << 20

#: Above this a file is sent in parts, without a checksum pass of its own.
LARGE_BYTES = 64 * MIB

#: Part size by file size, as ftrack's JavaScript client has it
#: (ftrack-javascript, ``source/util/get_chunk_size.ts``): at most 10,000 parts.
PART_SIZES = (
    (128 * MIB, 8 * MIB),
    (1024 * MIB, 16 * MIB),
    (8 * 1024 * MIB, 32 * MIB),
    (64 * 1024 * MIB, 64 * MIB),
)
LARGEST_PART = 128 * MIB

#: Ids are derived from what they stand for, so that a call repeated after a lost
#: answer, or a hook that fires twice, meets its own id and makes no second entity.
NAMESPACE = uuid.UUID("6f0c0a5e-6c5f-5d0c-9a4e-8f1f2d7c4b11")


def derived_id(*what: object) -> str:
    """Give the uuid5 of ``what``: the same values always have the same id."""
    return str(uuid.uuid5(NAMESPACE, "\0".join(str(part) for part in what)))


def part_size_bytes(size_bytes: int) -> int:
    """Choose the size of all parts but the last."""
    return next((part for limit, part in PART_SIZES if size_bytes <= limit), LARGEST_PART)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells that a file is still the one that was read before.

    The device is noted for people alone: each node numbers its NFS mounts for itself, and the
    stages of an upload run on different ones.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int = field(compare=False)

    def difference(self, other: FileIdentity) -> str:
        """Name in words what is different in ``other``; empty when nothing is."""
        names = (("size_bytes", "size"), ("mtime_ns", "mtime"), ("inode", "inode"))
        return ", ".join(
            f"{name} {getattr(self, attribute)} → {getattr(other, attribute)}"
            for attribute, name in names
            if getattr(self, attribute) != getattr(other, attribute)
        )


@dataclass(frozen=True, slots=True)
class SignedPut:
    """Where to PUT a file, and the headers that were signed with it. Both are secrets."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Multipart:
    """An upload in parts that ftrack has opened: its id, and a secret URL for each part."""

    upload_id: str
    urls: dict[int, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """What the file becomes in ftrack.

    Either a component that exists (``component_id`` alone), or one that is to be
    created under a version, together with its location.
    """

    component_id: str
    version_id: str | None = None
    name: str | None = None
    thumbnail: bool = False
    encode: bool = False
    #: The task whose thumbnail it becomes too.
    task_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    #: The sequence that it is a frame of; ``name`` is the frame's number then.
    container_id: str | None = None

    @classmethod
    def under_version(cls, version_id: str, name: str, **more: Any) -> Target:
        """Name the component ``name`` of a version; its id follows from the two."""
        return cls(derived_id("component", version_id, name), version_id, name, **more)

    @classmethod
    def frame(cls, container: Target, name: str) -> Target:
        """Name a frame of a sequence by its number, as ftrack's own clients do."""
        component_id = derived_id("frame", container.component_id, name)
        return cls(component_id, container.version_id, name, container_id=container.component_id)


@dataclass(frozen=True, slots=True)
class Container:
    """A sequence as ftrack knows it: a SequenceComponent, whose frames are its members."""

    target: Target
    file_type: str
    padding: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Components of a version that become visible together; its files are transfers."""

    containers: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """One file's way to the store.

    ``checksum`` is the base64 MD5 of RFC 1864. ``fence`` is the number of the delivery
    that may write to the record; who holds an older one can write nothing more.
    """

    upload_id: str
    target: Target
    path: str
    allow_empty: bool = False
    identity: FileIdentity | None = None
    checksum: str | None = None
    signed: SignedPut | None = None
    multipart: Multipart | None = None
    stored: bool = False
    fence: int = 0
    #: Whether it is a file of a publish: then it is registered with the others, by the publish.
    is_member: bool = False
    #: Set where this is no file, but what makes the files of a publish visible.
    publish: Publish | None = None
    #: ftrack's encoding jobs, once they have been asked for.
    job_ids: tuple[str, ...] = ()

    @property
    def component_id(self) -> str:
        """The component that the file belongs to, also its key in the store."""
        return self.target.component_id

    @property
    def file_name(self) -> str:
        """The name that a browser is to save the file under."""
        return PurePath(self.path).name

    @property
    def file_type(self) -> str:
        """The extension with its dot, as ftrack keeps it; empty when there is none."""
        return PurePath(self.path).suffix

    @property
    def known_identity(self) -> FileIdentity:
        """The identity, once ``compute_checksum`` has noted it."""
        if self.identity is None:
            raise ValueError(f"transfer {self.upload_id} has not been checked yet")
        return self.identity

    @property
    def is_large(self) -> bool:
        """Tell whether the file is sent in parts, each with its own MD5 and none of the whole."""
        return self.identity is not None and self.identity.size_bytes > LARGE_BYTES

    @property
    def content_fingerprint(self) -> str:
        """What tells the stored bytes from those of another state of the file."""
        identity = self.known_identity
        return self.checksum or f"{identity.size_bytes}:{identity.mtime_ns}:{identity.inode}"

    @property
    def size_bytes(self) -> int:
        """The size of the file as it was checked."""
        return self.known_identity.size_bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one chain carries: the transfers drawn by one claim."""

    claim_id: str
    transfers: tuple[Transfer, ...]

    @property
    def not_stored(self) -> tuple[Transfer, ...]:
        """The transfers whose bytes still have to be sent."""
        return tuple(transfer for transfer in self.transfers if not transfer.stored)
