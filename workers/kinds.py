"""What each kind of error means, in a few words for people."""

from __future__ import annotations

from tasks.config.texts import visible

MEANINGS = {
    "ServiceUnavailableError": "ftrack or the store is down, slow or overloaded",
    "OwnSettingsError": "a setting or the network of a node is wrong",
    "InterceptedError": "a proxy or firewall refuses calls to ftrack or the store",
    "CredentialsRefusedError": "ftrack does not accept the API user or key",
    "FileNotReadyError": "the file is not there, not readable, or empty",
    "FileHungError": "the file system does not answer",
    "FileShrunkError": "the file is smaller than when it was asked for",
    "FileChangedError": "the file was written to while it was uploaded",
    "UrlRefusedError": "the store did not accept the presigned URL",
    "DigestMismatchError": "the store received other bytes than were read",
    "MultipartGoneError": "the store no longer knows the parts of a large file",
    "JoinUnderWayError": "ftrack has not said whether the parts of a large file are joined",
    "PartsMissingError": "parts of a large file are not recorded",
    "LeaseLostError": "its worker was frozen, or cut off from Redis",
    "UnexpectedAnswerError": "an unexpected response",
    "FileRefusedError": "the file cannot be uploaded as it is",
    "RequestRefusedError": "ftrack refused",
    "TargetRefusedError": "the target in ftrack does not exist, or cannot take the file",
    "StoreRefusedError": "the store refused the file",
    "FolderRefusedError": "a download cannot be written on the node that took it",
    "FailsAloneError": "ftrack or the store fails for this upload alone",
    "SealBrokenError": "it is not sealed with the key of this farm",
    "UploadsFailedError": "uploads of the same batch failed",
    "PlaceTaken": "the name has other files under this version",
    "NotAllEnqueued": "not all of its files were asked for",
    "TooManyHosts": "too many hosts have files that only they can see",
    "WorkerKilled": "its worker process died",
    "RecordBroken": "its record in Redis was damaged",
    "ValueError": "its record cannot be read: of another version, or not its own",
}


def kind_line(kind: str) -> str:
    """Return a kind of error with what it means."""
    return visible(": ".join(filter(None, (kind, MEANINGS.get(kind, "")))))
