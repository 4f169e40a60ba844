"""Everything that farmhaul raises on purpose.

    UploadError
    ├── RetryableError                  it is tried again by itself
    │   ├── ServiceUnavailableError     ftrack or the store is down, slow or overloaded
    │   ├── CredentialsRefusedError     ftrack does not accept the API user or key
    │   ├── FileNotReadyError           the file is not there, or not readable, yet
    │   ├── FileChangedError            the file was written to while it was read or sent
    │   ├── UrlRefusedError             the signed URL has expired or is not accepted
    │   ├── DigestMismatchError         the store received other bytes than were sent
    │   ├── MultipartGoneError          the store does not know an upload in parts any more
    │   ├── LeaseLostError              another delivery has taken over, or may have
    │   └── UnexpectedAnswerError       an answer that no rule of ours explains
    └── FatalError                      it ends as failed: a person has to act
        ├── FileRefusedError            not a file that may be uploaded
        ├── RequestRefusedError         ftrack said no
        ├── StoreRefusedError           the store said no
        ├── SealBrokenError             not sealed with our key: nobody of ours wrote it
        └── UploadsFailedError          what a task ends with when uploads of its batch failed

A message says what failed, with which file or component, why, and what happens or
helps next. All arguments are plain and positional, since Celery stores an error as
JSON and rebuilds it as ``Class(*args)``.
"""

from __future__ import annotations


class UploadError(Exception):
    """The root of the tree."""


class RetryableError(UploadError):
    """Tried again by itself; how often and how long, ``tasks.stage.retry_policy`` decides."""


class ServiceUnavailableError(RetryableError):
    """``service`` (ftrack or store) gave no usable answer.

    ``retry_after_s`` is what the service itself asked us to wait, or None.
    """

    def __init__(self, service: str, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(service, why, retry_after_s)
        self.service = service
        self.why = why
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"waiting for {self.service}: {self.why}; farmhaul tries again by itself"


class CredentialsRefusedError(RetryableError):
    """ftrack refused the API user and key that this worker was started with."""

    service = "credentials"
    retry_after_s = None

    def __init__(self, server: str, why: str) -> None:
        super().__init__(server, why)
        self.server = server
        self.why = why

    def __str__(self) -> str:
        return (
            f"{self.server} refuses the credentials of this worker ({self.why}); "
            "uploads wait: check FTRACK_API_USER and FTRACK_API_KEY, then restart the workers"
        )


class FileNotReadyError(RetryableError):
    """The file can not be opened now; on a network file system it may appear soon."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"cannot read {self.path}: {self.why}; is it there, and mounted on this node?"


class FileChangedError(RetryableError):
    """Size, mtime, inode or device are no longer what they were."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what

    def __str__(self) -> str:
        return f"{self.path} changed while it was uploaded ({self.what}): still being written?"


class _RefusedByStore(Exception):
    """The store answered with an HTTP status, and a code of S3's where it gave one."""

    def __init__(self, component_id: str, status: int, code: str) -> None:
        super().__init__(component_id, status, code)
        self.component_id = component_id
        self.status = status
        self.code = code


class UrlRefusedError(_RefusedByStore, RetryableError):
    """The store refused the signed URL; a new one is asked for."""

    @property
    def has_expired(self) -> bool:
        """Tell whether it was its age alone that the store refused."""
        return "xpired" in self.code

    def __str__(self) -> str:
        return (
            f"the store refused the signed URL of component {self.component_id} "
            f"({self.status} {self.code}); it is signed again"
        )


class DigestMismatchError(RetryableError):
    """What the store received has another MD5 than what was read."""

    def __init__(self, component_id: str, path: str, ours: str, theirs: str) -> None:
        super().__init__(component_id, path, ours, theirs)
        self.component_id = component_id
        self.path = path
        self.ours = ours
        self.theirs = theirs

    def __str__(self) -> str:
        return (
            f"{self.path} did not arrive as it was read (component {self.component_id}: "
            f"MD5 {self.ours}, the store has {self.theirs}); it is read and sent again"
        )


class MultipartGoneError(RetryableError):
    """The parts of an upload can not be joined: they are gone, or were joined already."""

    def __init__(self, component_id: str, why: str) -> None:
        super().__init__(component_id, why)
        self.component_id = component_id
        self.why = why

    def __str__(self) -> str:
        return (
            f"the parts of component {self.component_id} can not be joined ({self.why}); "
            "all of it is sent again"
        )


class LeaseLostError(RetryableError):
    """This delivery was silent for longer than the lease; another may be at work."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(upload_id)
        self.upload_id = upload_id

    def __str__(self) -> str:
        return f"upload {self.upload_id} was taken over by another worker; this one stops"


class UnexpectedAnswerError(RetryableError):
    """``service`` answered something that no rule explains; a few more tries may help."""

    def __init__(self, service: str, what: str, why: str) -> None:
        super().__init__(service, what, why)
        self.service = service
        self.what = what
        self.why = why

    def __str__(self) -> str:
        return f"{self.service} answered {self.what} in a way farmhaul does not know: {self.why}"


class FatalError(UploadError):
    """The upload ends as failed, with this text as its reason."""


class FileRefusedError(FatalError):
    """Not a regular, non-empty file below the storage roots, or a publish without all of its."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


class RequestRefusedError(FatalError):
    """ftrack refused an operation; ``why`` is in ftrack's own words."""

    def __init__(self, component_id: str, what: str, why: str) -> None:
        super().__init__(component_id, what, why)
        self.component_id = component_id
        self.what = what
        self.why = why

    def __str__(self) -> str:
        return (
            f"ftrack refused to {self.what} component {self.component_id}: {self.why}; "
            "mend it in ftrack, then: farmhaul retry"
        )


class StoreRefusedError(_RefusedByStore, FatalError):
    """The store refused the file for good."""

    def __str__(self) -> str:
        return (
            f"the store refused the file of component {self.component_id} "
            f"({self.status} {self.code}); ask those who run the store, then: farmhaul retry"
        )


class SealBrokenError(FatalError):
    """A message or record that was not sealed with one of our keys."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return (
            f"{self.what} is not sealed with a key of this node; it is dropped: "
            "is FARMHAUL_SECRET_KEY the same on all nodes?"
        )


class UploadsFailedError(FatalError):
    """Makes a task fail where operators look (Flower, logs), one line an upload."""

    def __init__(self, reasons: str) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return self.reasons
