"""The values that pass from stage to stage: ids, paths, sizes and ETags, never file contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath

from tasks.transfer.errors import UploadError
from tasks.transfer.names import file_type
from tasks.transfer.targets import Publish, Target

#: The id of ftrack.server, the location whose files are in ftrack's media store
#: (ftrack-python, ``source/ftrack_api/symbol.py``).
SERVER_LOCATION_ID = "3a372bde-05bc-11e4-8908-20c9d081909b"

MIB = 1 << 20

#: A larger file is sent in parts; only the parts have checksums.
LARGE_BYTES = 64 * MIB

GIB = 1024 * MIB

#: The largest size that ftrack can store.
MAX_SIZE_BYTES = 2**63 - 1

#: (largest file, its part size). A kill costs the part that is under way, so parts are small; but
#: S3 takes at most 10,000, and each has a URL to be signed. ftrack's JavaScript client begins with
#: 8 MiB, too, and goes on to 128 MiB sooner, but keeps no parts when it is stopped
#: (ftrack-javascript, ``source/util/get_chunk_size.ts``).
PART_SIZES_BYTES = (
    (4 * GIB, 8 * MIB),
    (16 * GIB, 16 * MIB),
    (64 * GIB, 32 * MIB),
    (256 * GIB, 64 * MIB),
)
LARGEST_PART_BYTES = 128 * MIB


def part_size_bytes(size_bytes: int) -> int:
    """Return the size of each part but the last, for a file of ``size_bytes``."""
    sizes = (part for limit, part in PART_SIZES_BYTES if size_bytes <= limit)
    return next(sizes, LARGEST_PART_BYTES)


def part_count(size_bytes: int) -> int:
    """Return the number of parts of a file."""
    return len(range(0, size_bytes, part_size_bytes(size_bytes)))


#: The steps in which file systems count the time: SMB, FUSE, older ones, FAT.
MTIME_STEPS_NS = (100, 10**3, 10**6, 10**9, 2 * 10**9)


def _may_be_same_time(one_ns: int, other_ns: int) -> bool:
    """Return whether one of two times may be the other one, cut off to the step of its mount."""
    cut_ns, exact_ns = sorted((one_ns, other_ns))
    return cut_ns == exact_ns or any(
        cut_ns % step_ns == 0 and exact_ns - cut_ns < step_ns for step_ns in MTIME_STEPS_NS
    )


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The identity of a file's state; it shows whether the file has changed since it was read.

    The stages of an upload run on different nodes. With SMB or FUSE each node may give a file an
    inode of its own, and count its time in coarser steps. ``device`` stands for one mount of one
    node (``tasks.transfer.files``): only there are inodes and exact times compared.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int

    def difference(self, other: FileIdentity) -> str:
        """Describe what differs in ``other``, such as "size 6 → 11"; empty if nothing does."""
        names = [("size_bytes", "size")]
        if self.device == other.device:
            names += [("mtime_ns", "mtime"), ("inode", "inode")]
        elif not _may_be_same_time(self.mtime_ns, other.mtime_ns):
            names.append(("mtime_ns", "mtime"))
        return ", ".join(
            f"{name} {getattr(self, attribute)} → {getattr(other, attribute)}"
            for attribute, name in names
            if getattr(self, attribute) != getattr(other, attribute)
        )


@dataclass(frozen=True, slots=True)
class AskedFor:
    """The file as its hook saw it, the only host that sees it (or ""), and when it was asked for.

    ``size_bytes`` and ``mtime_ns`` are None if nobody looked at the file, ``at`` (in seconds since
    1970, by the clock of the hook, and not later than that of the worker that took the request in)
    if a former version has written the record.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    host: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True)
class SignedPut:
    """A presigned URL to PUT a file to, and the headers it was signed with. Both are secrets."""

    url: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Multipart:
    """A multipart upload that ftrack has opened in the store.

    ``upload_id`` is the store's id, not that of farmhaul's upload. ``urls`` has a presigned URL,
    which is a secret, for each part number (from 1).
    """

    upload_id: str
    urls: dict[int, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Transfer:
    """The transfer of one file, or the last step of a publish.

    The last step of a publish (``publish`` is set) has no file: it makes the publish's files
    visible in ftrack. It is not a class of its own, because it passes through the same record,
    lease, batch and message as a file, and each of these uses only the fields that both have:
    two classes would put a type test in place of the one test of ``publish`` in the stages.

    ``checksum`` is the base64 MD5 of RFC 1864; a large file has none, nor one that is not uploaded.
    ``fence`` is the fencing token of the delivery that may write to the record: a worker with an
    older one cannot.
    """

    upload_id: str
    target: Target
    path: str
    allow_empty: bool = False
    asked: AskedFor = AskedFor()
    identity: FileIdentity | None = None
    checksum: str | None = None
    signed: SignedPut | None = None
    multipart: Multipart | None = None
    stored: bool = False
    #: Whether ftrack has shown the stored bytes before. Then they are gone if it no longer does.
    was_located: bool = False
    #: Whether nodes are left that have not tried it, and may see the file that was asked for.
    others_left: bool = False
    #: Whether ftrack was asked, and still shows them.
    is_confirmed: bool = False
    #: Whether it was asked for again although ftrack has shown it: does the store have its bytes?
    doubted: bool = False
    fence: int = 0
    #: Whether it is a member of a publish, which then registers all of its members together.
    is_member: bool = False
    #: Set for the last step of a publish, which has no file of its own.
    publish: Publish | None = None
    #: The bytes of a publish's files together, as far as they are known; 0 for a file.
    total_bytes: int = 0
    #: The members of a publish that ftrack has shown, and shows no longer: their upload ids.
    gone: tuple[str, ...] = ()
    #: The ids of ftrack's encoding jobs, once they have been started.
    job_ids: tuple[str, ...] = ()
    #: With such jobs: the version that they encode for, and the thumbnail that came with them.
    encoded_version: str = ""
    thumbnail_id: str = ""

    @property
    def component_id(self) -> str:
        """The component that the file belongs to. Its id is also the key in the store."""
        return self.target.component_id

    @property
    def file_name(self) -> str:
        """The name under which a browser will save the file."""
        return PurePath(self.path).name

    @property
    def file_type(self) -> str:
        """The extension with its dots, as in ftrack; empty if there is none."""
        return file_type(self.file_name)

    @property
    def known_identity(self) -> FileIdentity:
        """The identity, once ``compute_checksum`` has set it.

        Raises:
            ValueError: it is not set yet.
        """
        if self.identity is None:
            raise ValueError(f"transfer {self.upload_id} has not been checked yet")
        return self.identity

    @property
    def is_large(self) -> bool:
        """Whether the file is sent in parts. Only the parts have an MD5."""
        if self.identity is None or self.target.only_in:
            return False
        return self.identity.size_bytes > LARGE_BYTES

    @property
    def content_fingerprint(self) -> str:
        """What distinguishes the stored bytes from another version of the file."""
        identity = self.known_identity
        return self.checksum or f"{identity.size_bytes}:{identity.mtime_ns}"

    @property
    def size_bytes(self) -> int:
        """The size of the file when it was checked."""
        return self.known_identity.size_bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """The transfers of one claim, which one chain of tasks carries."""

    claim_id: str
    transfers: tuple[Transfer, ...]

    @property
    def not_stored(self) -> tuple[Transfer, ...]:
        """The transfers whose bytes have not been sent yet."""
        return tuple(transfer for transfer in self.transfers if not transfer.stored)


#: For each upload id: the transfer after a step, or the error that it failed with.
Outcomes = dict[str, Transfer | UploadError]
