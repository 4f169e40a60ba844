"""The errors that an upload is retried with, or fails with.

    UploadError
    ├── RetryableError                  farmhaul tries again by itself
    │   ├── ServiceUnavailableError     ftrack or the store is down, slow or overloaded
    │   ├── OwnSettingsError            a setting or the network of this node is wrong
    │   ├── InterceptedError            a proxy or firewall refuses calls to ftrack
    │   ├── CredentialsRefusedError     ftrack does not accept the API user or key
    │   ├── FileNotReadyError           the file is not there, or not readable, yet
    │   ├── FileHungError               the file system does not answer
    │   ├── FileShrunkError             the file is smaller than when it was asked for
    │   ├── FileChangedError            the file was written to while it was read or sent
    │   ├── UrlRefusedError             the presigned URL has expired or is not accepted
    │   ├── DigestMismatchError         the store received other bytes than were read
    │   ├── MultipartGoneError          the store no longer knows a multipart upload
    │   ├── JoinUnderWayError           ftrack has not said yet whether the parts are joined
    │   ├── PartsMissingError           parts of a file that counts as stored are not recorded
    │   ├── LeaseLostError              this worker no longer holds the upload
    │   ├── GivenBackError              this task has ended before the upload was done
    │   └── UnexpectedAnswerError       an unexpected response
    └── FatalError                      the upload fails: a person has to act
        ├── FileRefusedError            not a file that may be uploaded
        ├── RequestRefusedError         ftrack refused
        ├── TargetRefusedError          what ftrack has there cannot take the file
        ├── StoreRefusedError           the store refused
        ├── FolderRefusedError          a download cannot be written on this node
        ├── FailsAloneError             ftrack or the store fails for this upload alone
        ├── SealBrokenError             not sealed with this farm's key
        └── UploadsFailedError          uploads of a task's batch failed

A message states the facts: what failed, which file or component, why, and what farmhaul does
next. ``tasks.config.remedies`` adds what you can do about it, because this package knows no
settings and no commands. All arguments are plain and positional, because Celery stores an error
as JSON and rebuilds it as ``Class(*args)``.

Errors that never end an upload are defined where they are raised: ``FtrackRefusal`` and
``BeingFetchedError`` in this package; ``SettingsError``, ``BadInputError``, ``FramesError`` and
``HubError`` above it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Literal, TypeAlias

#: Why a file is not accepted, if you can do something about it on this side.
FileFault: TypeAlias = "Literal['', 'empty', 'outside_roots', 'outdated', 'unmapped']"

#: What of this node keeps it from a service.
OwnFault: TypeAlias = (
    "Literal['ca_file', 'authority', 'socks', 'proxy', 'proxy_login', 'no_route', 'no_name', 'tls']"
)

#: What of a target is in the way: it holds something else, or does not exist.
Taken: TypeAlias = "Literal['', 'name', 'component', 'location', 'folder', 'context']"


class UploadError(Exception):
    """The root of the tree."""

    #: Whether something still runs that may send the upload's bytes.
    is_running = False


class RetryableError(UploadError):
    """farmhaul tries again; ``tasks.stage.retry_policy`` decides how often and how long."""


class ServiceUnavailableError(RetryableError):
    """``service`` (ftrack or store) gave no usable response.

    ``retry_after_s`` is how long the service itself asked to wait, or None.
    """

    def __init__(self, service: str, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(service, why, retry_after_s)
        self.service = service
        self.why = why
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"waiting for {self.service}: {self.why}; farmhaul tries again by itself"


class OwnSettingsError(RetryableError):
    """``node`` cannot reach ``service``, because of its own settings or network.

    It is no outage, so it closes no gate. ``url`` is the scheme and host of the service, and
    ``why`` are the words of the library or of the operating system.
    """

    MEANINGS: ClassVar[dict[OwnFault, str]] = {
        "ca_file": "its file of trusted authorities cannot be used",
        "authority": "the certificate is from an authority that it does not trust",
        "socks": "its proxy is a SOCKS proxy, which farmhaul does not support",
        "proxy": "its proxy cannot be used",
        "proxy_login": "its proxy asks for a login",
        "no_route": "it has no route to that host",
        "no_name": "it cannot resolve that name",
        "tls": "what answers at that port speaks no TLS",
    }

    def __init__(self, node: str, service: str, url: str, fault: OwnFault, why: str) -> None:
        super().__init__(node, service, url, fault, why)
        self.node = node
        self.service = service
        self.url = url
        self.fault = fault
        self.why = why

    def __str__(self) -> str:
        meaning = self.MEANINGS[self.fault]
        return f"{self.node} cannot reach {self.service} ({self.url}): {meaning} ({self.why})"


class InterceptedError(RetryableError):
    """Something else answered in place of ``service``: a page, or a 4xx that is not its own."""

    retry_after_s = None

    def __init__(self, service: str, why: str) -> None:
        super().__init__(service, why)
        self.service = service
        self.why = why

    def __str__(self) -> str:
        return (
            f"something else answered in place of {self.service} ({self.why}); farmhaul tries "
            "again a few times"
        )


class CredentialsRefusedError(RetryableError):
    """ftrack refused the API user and key that this worker was started with."""

    service = "credentials"
    retry_after_s = None

    def __init__(self, server: str, why: str) -> None:
        super().__init__(server, why)
        self.server = server
        self.why = why

    def __str__(self) -> str:
        return f"{self.server} refuses the credentials of this worker ({self.why})"


class FileNotReadyError(RetryableError):
    """The file cannot be opened now. On a network file system it may appear soon."""

    def __init__(self, path: str, why: str, fault: FileFault = "") -> None:
        super().__init__(path, why, fault)
        self.path = path
        self.why = why
        self.fault = fault

    def __str__(self) -> str:
        if self.fault == "empty":
            return f"{self.path} is empty, perhaps not written yet"
        if self.fault == "unmapped":
            return f"cannot read {self.path}: {self.why}"
        return f"cannot read {self.path}: {self.why}; is it there, and mounted on this node?"


class FileHungError(RetryableError):
    """The file system of this node does not answer; the thread that waits was left behind."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"reading {self.path} hangs: {self.why}; does its mount answer on this node?"


class FileShrunkError(RetryableError):
    """The file is smaller than when it was asked for: cut off, or being written again."""

    def __init__(self, path: str, asked_bytes: int, size_bytes: int) -> None:
        super().__init__(path, asked_bytes, size_bytes)
        self.path = path
        self.asked_bytes = asked_bytes
        self.size_bytes = size_bytes

    def __str__(self) -> str:
        return (
            f"{self.path} changed since it was queued: it had {self.asked_bytes} bytes and has "
            f"{self.size_bytes}"
        )


class FileChangedError(RetryableError):
    """Size, mtime or inode are no longer what they were.

    With ``is_here``, this node alone may see it so, because its mount shows an older copy.
    """

    def __init__(self, path: str, what: str, is_here: bool = False) -> None:  # noqa: FBT001, FBT002 see UploadError
        super().__init__(path, what, is_here)
        self.path = path
        self.what = what
        self.is_here = is_here

    def __str__(self) -> str:
        if self.is_here:
            return (
                f"{self.path} is not the file that was asked for ({self.what}); does this node "
                "see an older copy, or was it written again?"
            )
        return f"{self.path} changed during its upload ({self.what}); is it still being written?"


class _RefusedByStore(Exception):
    """The store refused with an HTTP status; ``code`` is S3's error code, or a reason.

    ``by`` is "store", or "proxy" if there is no such code: then a proxy of this node may have
    refused instead.
    """

    def __init__(self, component_id: str, status: int, code: str, by: str = "store") -> None:
        super().__init__(component_id, status, code, by)
        self.component_id = component_id
        self.status = status
        self.code = code
        self.by = by


class UrlRefusedError(_RefusedByStore, RetryableError):
    """The store refused the presigned URL. farmhaul asks for a new one.

    ``status`` is 0 if there was no URL to send to.
    """

    @property
    def has_expired(self) -> bool:
        """Whether the store refused the URL only because of its age."""
        return "xpired" in self.code

    def __str__(self) -> str:
        if not self.status:
            return f"component {self.component_id} has no presigned URL; farmhaul has one signed"
        return (
            f"the store refused the presigned URL of component {self.component_id} "
            f"({self.status} {self.code}); farmhaul has it signed again"
        )


class DigestMismatchError(RetryableError):
    """The store received bytes with another MD5 (in hex) than the file had when it was read."""

    def __init__(self, component_id: str, path: str, sent_md5_hex: str, stored_md5: str) -> None:
        super().__init__(component_id, path, sent_md5_hex, stored_md5)
        self.component_id = component_id
        self.path = path
        self.sent_md5_hex = sent_md5_hex
        #: In hex, or "unknown".
        self.stored_md5 = stored_md5

    def __str__(self) -> str:
        return (
            f"{self.path} arrived with other bytes than were read (component {self.component_id}: "
            f"MD5 {self.sent_md5_hex}, in the store {self.stored_md5}); "
            "farmhaul reads and sends it again"
        )


class MultipartGoneError(RetryableError):
    """The parts of a large file are gone from the store, or were joined already."""

    def __init__(self, component_id: str, why: str) -> None:
        super().__init__(component_id, why)
        self.component_id = component_id
        self.why = why

    @property
    def may_be_joined(self) -> bool:
        """Whether the multipart upload is gone: it was joined, or the store has forgotten it."""
        return "NoSuchUpload" in self.why

    def __str__(self) -> str:
        return (
            f"the store does not know the parts of component {self.component_id} ({self.why}); "
            "farmhaul sends all of them again"
        )


class JoinUnderWayError(RetryableError):
    """An earlier call to join the parts had no answer, and the store does not know them any more.

    They are joined, or are being joined: then ftrack will show the location.
    """

    def __init__(self, component_id: str) -> None:
        super().__init__(component_id)
        self.component_id = component_id

    def __str__(self) -> str:
        return (
            f"ftrack has not answered the call that joins the parts of component "
            f"{self.component_id}; farmhaul tries again until it sees the location"
        )


class PartsMissingError(RetryableError):
    """The record has no ETag for some parts of a stored file, or none that a worker signed."""

    def __init__(self, component_id: str, missing: int) -> None:
        super().__init__(component_id, missing)
        self.component_id = component_id
        self.missing = missing

    def __str__(self) -> str:
        return (
            f"the record of component {self.component_id} lacks {self.missing} finished parts, or "
            "somebody else has written them; farmhaul sends these parts again"
        )


class LeaseLostError(RetryableError):
    """This worker no longer holds the upload: another has it, it has ended, or the lease is up."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(upload_id)
        self.upload_id = upload_id

    def __str__(self) -> str:
        return (
            f"this worker no longer holds upload {self.upload_id}: it was taken over by another "
            "worker, cancelled or superseded, or Redis is away; this worker stops"
        )


class GivenBackError(RetryableError):
    """The task has ended before the upload was done, without a fault of the upload.

    With ``alone``, ftrack took long for a call, perhaps because of this upload.
    """

    def __init__(self, upload_id: str, alone: bool = False) -> None:  # noqa: FBT001, FBT002 see UploadError
        super().__init__(upload_id, alone)
        self.upload_id = upload_id
        self.alone = alone

    def __str__(self) -> str:
        why = ", because ftrack took long for a call for it and others" if self.alone else ""
        how = " alone" if self.alone else ""
        return (
            f"upload {self.upload_id} was given back before it was done{why}; "
            f"it goes on{how} at once"
        )


#: The ``service`` of an error that nobody foresaw: a bug, a lack of memory, or an installation that
#: is broken. ``what`` is the stage then.
OWN_CODE = "the worker itself"


class UnexpectedAnswerError(RetryableError):
    """``service`` gave an unexpected response; a few more attempts may help."""

    def __init__(self, service: str, what: str, why: str) -> None:
        super().__init__(service, what, why)
        self.service = service
        self.what = what
        self.why = why

    def __str__(self) -> str:
        return f"{self.service} answered {self.what} unexpectedly: {self.why}"


class FatalError(UploadError):
    """The upload fails, with this text as its reason."""


class FileRefusedError(FatalError):
    """The file, or its name in ftrack, does not fit; or a publish lacks files.

    ``why`` continues the sentence that starts with the path.
    """

    def __init__(self, path: str, why: str, fault: FileFault = "") -> None:
        super().__init__(path, why, fault)
        self.path = path
        self.why = why
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


class RequestRefusedError(FatalError):
    """ftrack refused an operation; ``why`` is ftrack's own text, ``what`` a verb."""

    def __init__(self, component_id: str, what: str, why: str) -> None:
        super().__init__(component_id, what, why)
        self.component_id = component_id
        self.what = what
        self.why = why

    @property
    def is_of_this_user(self) -> bool:
        """Whether the API user may not do it, or does not see the version; that of another may."""
        return "Permission" in self.why.partition(":")[0] or self.why.endswith("does not exist")

    def __str__(self) -> str:
        return f"ftrack refused to {self.what} component {self.component_id}: {self.why}"


class TargetRefusedError(FatalError):
    """The component, the name, the task or the location in ftrack cannot take the file.

    ``target`` names it, and ``why`` continues the sentence. ``taken`` tells what --replace could
    take over, or whether it is the location, its folder as this node knows it, or the context of a
    new version.
    """

    def __init__(self, target: str, why: str, taken: Taken = "") -> None:
        super().__init__(target, why, taken)
        self.target = target
        self.why = why
        self.taken = taken

    @property
    def is_of_this_user(self) -> bool:
        """Whether the API user does not see it; that of another node may."""
        return self.why.startswith("does not exist")

    def __str__(self) -> str:
        return f"{self.target} {self.why}"


class StoreRefusedError(_RefusedByStore, FatalError):
    """The store refused the file, and would refuse it again."""

    def __str__(self) -> str:
        return (
            f"the store refused the file of component {self.component_id} "
            f"({self.status} {self.code})"
        )


class FolderRefusedError(FatalError):
    """A download cannot be written on this node, such as into a folder that is not mounted.

    Another node may be able to.
    """

    def __init__(self, component_id: str, why: str) -> None:
        super().__init__(component_id, why)
        self.component_id = component_id
        self.why = why

    def __str__(self) -> str:
        return f"component {self.component_id} cannot be written: {self.why}"


class FailsAloneError(FatalError):
    """``service`` (ftrack or the store) keeps failing for this upload, and answers others."""

    def __init__(self, service: str, why: str, tries: int) -> None:
        super().__init__(service, why, tries)
        self.service = service
        self.why = why
        self.tries = tries

    def __str__(self) -> str:
        return (
            f"{self.service} has failed {self.tries} times for this upload alone ({self.why}), and "
            "has answered other calls in between"
        )


class SealBrokenError(FatalError):
    """A message or record was not sealed with one of this farm's keys."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} is not sealed with a key of this node, so it is not used"


class UploadsFailedError(FatalError):
    """Fails a task, so that operators see it (Flower, logs); one line for each upload."""

    def __init__(self, reasons: str) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return self.reasons
