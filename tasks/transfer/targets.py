"""What a file becomes in ftrack, and the ids of it. Hooks and workers derive the same ids."""

from __future__ import annotations

try:  # hashlib would load OpenSSL, which takes a hook a third of an empty Python
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:  # Python can be built without it
    from hashlib import sha1

from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Ids are derived from what they identify. So a call that is repeated after a lost response, or
#: a hook that runs twice, uses the same id, and creates no second entity.
NAMESPACE = "6f0c0a5e-6c5f-5d0c-9a4e-8f1f2d7c4b11"
#: Characters that would end a text in a query of ftrack. No name that becomes part of one has them.
QUOTES = frozenset("\"'\\\n\r")
#: ftrack has numbers of versions as integers of 32 bits.
MAX_VERSION_DIGITS = 9
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF-")
_NAMESPACE_BYTES = bytes.fromhex(NAMESPACE.replace("-", ""))


def derived_id(*values: object) -> str:
    """Return the UUIDv5 of the values: the same values always have the same id.

    Computed as RFC 4122 (4.3) says, because hooks must start without the import of ``uuid``.
    """
    name = "\0".join([str(value) for value in values]).encode()
    digest = bytearray(sha1(_NAMESPACE_BYTES + name).digest()[:16])  # noqa: S324 no secret
    digest[6] = digest[6] & 0x0F | 0x50  # version 5
    digest[8] = digest[8] & 0x3F | 0x80  # the variant of RFC 4122
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(text: str) -> bool:
    """Return whether a text is an id as ftrack writes it, in upper or lower case."""
    sizes = [len(digits) for digits in text.split("-")]
    return sizes == [8, 4, 4, 4, 12] and _HEXADECIMAL.issuperset(text)


def is_version_number(text: str) -> bool:
    """Return whether a text is the number of a version, which ftrack counts from 1.

    It has no zeros before it.
    """
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_VERSION_DIGITS
    return is_number and text[0] != "0"


#: The name of a component that is a thumbnail and nothing else, as in ftrack's own clients
#: (ftrack-python, ``create_thumbnail`` in ``source/ftrack_api/entity/base.py`` and mixins).
THUMBNAIL = "thumbnail"


class Location(NamedTuple):
    """A location of ftrack whose files are on disk.

    ``folder`` is where it begins on this node: its resource identifiers are relative to that. It is
    empty for ftrack.unmanaged, whose resource identifiers are whole paths.
    """

    location_id: str
    name: str
    folder: str = ""


def members_digest(upload_ids: Iterable[str]) -> str:
    """Return what distinguishes these files of a publish from others, in any order."""
    from hashlib import sha256  # late: hooks do not need it

    return sha256("\n".join(sorted(upload_ids)).encode()).hexdigest()[:32]


class NewVersion(NamedTuple):
    """A version that is made with its first component, unless it exists; its asset, too.

    ``context`` is the id of a project, shot or task, or its path: names from the project on, with
    slashes between them. ``key`` tells one version of the asset from another, and so does
    ``number``: that of the version, if ftrack is not to count it. ``task`` is an id, or the name of
    a task of the context. A worker asks ftrack for what ends in ``_id``; no record has these.
    """

    context: str
    asset: str
    asset_type: str
    key: str = ""
    task: str = ""
    comment: str = ""
    status: str = ""
    context_id: str = ""
    type_id: str = ""
    status_id: str = ""
    number: str = ""
    task_id: str = ""

    @property
    def version_id(self) -> str:
        """The id of the version: what is asked for in the same words is the same version."""
        number = (self.number,) if self.number else ()
        return derived_id("version", self.context, self.asset, self.asset_type, self.key, *number)


class OfVersion(NamedTuple):
    """What a version gets together with a component.

    ``metadata`` and ``attributes`` are pairs of a key and a text; the attributes are custom ones,
    which have types. ``lists`` and ``reviews`` are names or ids, of lists and review sessions.
    """

    metadata: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    lists: tuple[str, ...] = ()
    reviews: tuple[str, ...] = ()

    def with_more(self, more: OfVersion) -> OfVersion:
        """Return both; the later value of a key counts."""
        return OfVersion(
            tuple({**dict(self.metadata), **dict(more.metadata)}.items()),
            tuple({**dict(self.attributes), **dict(more.attributes)}.items()),
            tuple(dict.fromkeys(self.lists + more.lists)),
            tuple(dict.fromkeys(self.reviews + more.reviews)),
        )


class Target(NamedTuple):
    """The component that the file becomes in ftrack.

    With ``component_id`` alone, it is the file of a component that exists. With ``version_id``
    and ``name``, the component is created in that version, together with its location.
    ``task_id`` is the task, shot, asset build or project that gets the same thumbnail as the
    version. ``container_id`` is the sequence that the file is a frame of; then ``name`` is the
    frame number. With ``replace``, the upload takes over a component that has other files. With
    ``encode_only``, ftrack deletes the component when it has encoded it. With ``prune``, a sequence
    loses the frames that are not part of the upload. ``also_in`` is the name or the id of a
    location that has the file's path, too, and ``only_in`` that of one that has it alone: then the
    file is not uploaded. ``location`` is that location, once a worker has asked ftrack; no record
    has it. ``new_version`` describes the version, if it need not exist. ``of_version`` is what the
    version gets with the component; frames do not have it, but their sequence. ``listed`` is a
    thumbnail of the usual name that the version has as a component, too.
    """

    component_id: str
    version_id: str | None = None
    name: str | None = None
    thumbnail: bool = False
    encode: bool = False
    task_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    container_id: str | None = None
    replace: bool = False
    encode_only: bool = False
    prune: bool = False
    also_in: str = ""
    only_in: str = ""
    location: Location | None = None
    new_version: NewVersion | None = None
    of_version: OfVersion | None = None
    listed: bool = False

    @property
    def own_id(self) -> str:
        """The id that farmhaul gives the component, even if it uses another program's."""
        if self.version_id is None or self.container_id is not None:
            return self.component_id
        kind = THUMBNAIL if self.is_hidden else "component"
        return derived_id(kind, self.version_id, self.name)

    @property
    def is_hidden(self) -> bool:
        """Whether it is a thumbnail alone: then no version has the component, and shows it."""
        return self.thumbnail and self.name == THUMBNAIL and not self.listed

    @classmethod
    def under_version(cls, version_id: str, name: str, **more: Any) -> Target:
        """Return the target for a component of a version; its id is derived from both."""
        target = cls("", version_id, name, **more)
        return target._replace(component_id=target.own_id)

    @classmethod
    def frame(cls, container: Target, name: str) -> Target:
        """Return the target for a frame, named by its number as in ftrack's own clients."""
        component_id = derived_id("frame", container.component_id, name)
        return cls(
            component_id,
            container.version_id,
            name,
            container_id=container.component_id,
            replace=container.replace,
            also_in=container.also_in,
            only_in=container.only_in,
            new_version=container.new_version,
        )


class Container(NamedTuple):
    """A sequence in ftrack: a SequenceComponent, whose members are the frames.

    ``pattern`` is the path of its frames with %d in place of their number; it is empty in a record
    of a former version.
    """

    target: Target
    file_type: str
    padding: int
    pattern: str = ""


class Publish(NamedTuple):
    """The sequences of a publish, whose components become visible together.

    ``members`` is a digest of the ids of all of its files (``members_digest``); it is empty in a
    record of a former version.
    """

    containers: tuple[Container, ...] = ()
    members: str = ""
