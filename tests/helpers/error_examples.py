"""An example of each error of the tree."""

from __future__ import annotations

from tasks.transfer import errors

ID = "5d2c9f6e-1b1e-4b4a-9d0c-3f1f8c6c7a10"
PATH = "/mnt/prod/main.0101.exr"

#: For each class: its arguments, and the words for what, which, why and next.
EXAMPLES: dict[type[errors.UploadError], tuple[tuple[object, ...], tuple[str, ...]]] = {
    errors.ServiceUnavailableError: (
        ("the store", "503 SlowDown", 7.5),
        ("waiting for the store", "503 SlowDown", "tries again by itself"),
    ),
    errors.CredentialsRefusedError: (
        ("https://studio.ftrackapp.com", "the key is not known"),
        ("https://studio.ftrackapp.com", "credentials", "the key is not known", "check FTRACK_API"),
    ),
    errors.FileNotReadyError: (
        (PATH, "No such file or directory"),
        ("cannot read", PATH, "No such file", "mounted on this node?"),
    ),
    errors.FileChangedError: (
        (PATH, "size 5 → 9"),
        (PATH, "changed while it was uploaded", "size 5 → 9", "still being written?"),
    ),
    errors.UrlRefusedError: (
        (ID, 403, "AccessDenied"),
        ("refused the signed URL", ID, "403 AccessDenied", "signed again"),
    ),
    errors.DigestMismatchError: (
        (ID, PATH, "ours==", "theirs=="),
        (PATH, "did not arrive as it was read", ID, "ours==", "theirs==", "read and sent again"),
    ),
    errors.MultipartGoneError: (
        (ID, "NoSuchUpload"),
        (ID, "can not be joined", "NoSuchUpload", "sent again"),
    ),
    errors.LeaseLostError: ((ID,), (ID, "taken over by another worker", "this one stops")),
    errors.UnexpectedAnswerError: (
        ("ftrack", "an API call", "HTTP 418"),
        ("ftrack answered", "an API call", "HTTP 418"),
    ),
    errors.FileRefusedError: ((PATH, "is a directory"), (PATH, "is a directory")),
    errors.RequestRefusedError: (
        (ID, "register", "ValidationError: no such version"),
        ("refused to register", ID, "no such version", "mend it in ftrack", "farmhaul retry"),
    ),
    errors.StoreRefusedError: (
        (ID, 413, "EntityTooLarge"),
        ("the store refused", ID, "413 EntityTooLarge", "farmhaul retry"),
    ),
    errors.SealBrokenError: (
        ("a task message",),
        ("a task message", "not sealed", "it is dropped", "FARMHAUL_SECRET_KEY"),
    ),
    errors.UploadsFailedError: (
        (f"{ID}: {PATH} is empty",),
        (ID, PATH, "is empty"),
    ),
}
