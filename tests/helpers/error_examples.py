"""An example of each error of the tree."""

from __future__ import annotations

from tasks.transfer import errors

ID = "5d2c9f6e-1b1e-4b4a-9d0c-3f1f8c6c7a10"
PATH = "/mnt/prod/main.0101.exr"
MD5, OTHER_MD5 = "0cc175b9c0f1b6a831c399e269772661", "900150983cd24fb0d6963f7d28e17f72"

#: For each class: its arguments, and the facts that its message, with its remedy, must contain.
EXAMPLES: dict[type[errors.UploadError], tuple[tuple[object, ...], tuple[str, ...]]] = {
    errors.ServiceUnavailableError: (
        ("the store", "503 SlowDown", 7.5),
        ("the store", "503 SlowDown", "tries again"),
    ),
    errors.OwnSettingsError: (
        ("node7", "store", "https://media.studio", "no_name", "Name or service not known"),
        ("node7", "store (https://media.studio)", "resolve", "Name or service", "DNS of that node"),
    ),
    errors.CredentialsRefusedError: (
        ("https://studio.ftrackapp.com", "the key is not known"),
        (
            "https://studio.ftrackapp.com",
            "the key is not known",
            "FTRACK_API_USER",
            "FTRACK_API_KEY",
        ),
    ),
    errors.InterceptedError: (
        ("ftrack", "403 Forbidden, not JSON"),
        ("ftrack", "403 Forbidden", "in place of ftrack", "portal or firewall", "FTRACK_SERVER"),
    ),
    errors.FileNotReadyError: (
        (PATH, "it is empty", "empty"),
        (f"{PATH} is empty, perhaps not written yet; to upload", "--allow-empty"),
    ),
    errors.FileHungError: (
        (PATH, "nothing has moved for 45 s"),
        (PATH, "hangs", "nothing has moved for 45 s", "mount", "this node"),
    ),
    errors.FileShrunkError: (
        (PATH, 10_485_760, 4_194_304),
        (PATH, "changed since it was queued", "10485760 bytes", "4194304", "enqueue it again"),
    ),
    errors.FileChangedError: (
        (PATH, "size 5 → 9", False),
        (PATH, "changed", "size 5 → 9", "still being written?"),
    ),
    errors.UrlRefusedError: (
        (ID, 403, "AccessDenied", "store"),
        ("the store refused", "URL", ID, "403 AccessDenied", "signed again"),
    ),
    errors.DigestMismatchError: (
        (ID, PATH, MD5, OTHER_MD5),
        (PATH, ID, MD5, OTHER_MD5, "again"),
    ),
    errors.MultipartGoneError: (
        (ID, "NoSuchUpload"),
        (ID, "does not know the parts", "NoSuchUpload", "again"),
    ),
    errors.JoinUnderWayError: ((ID,), (ID, "not answered", "location", "again")),
    errors.PartsMissingError: ((ID, 2), (ID, "2 finished parts", "again")),
    errors.LeaseLostError: ((ID,), (ID, "another worker", "cancelled", "this worker stops")),
    errors.GivenBackError: ((ID, True), (ID, "given back", "ftrack took long", "goes on alone")),
    errors.UnexpectedAnswerError: (
        ("ftrack", "an API call", "HTTP 418"),
        ("ftrack", "an API call", "HTTP 418"),
    ),
    errors.FileRefusedError: (
        (PATH, "is outside the storage roots (/mnt/cache)", "outside_roots"),
        (PATH, "is outside", "/mnt/cache", "FARMHAUL_STORAGE_ROOTS"),
    ),
    errors.RequestRefusedError: (
        (ID, "register", "ValidationError: no such version"),
        ("ftrack refused to register", ID, "no such version", "farmhaul retry"),
    ),
    errors.TargetRefusedError: (
        ('component "main" of version V', "is a sequence in ftrack", "name"),
        ('component "main"', "is a sequence", "--name", "--replace", "another version"),
    ),
    errors.StoreRefusedError: (
        (ID, 413, "EntityTooLarge", "store"),
        ("the store refused", ID, "413 EntityTooLarge", "farmhaul retry"),
    ),
    errors.FolderRefusedError: (
        (ID, "Read-only file system"),
        (ID, "cannot be written", "Read-only file system"),
    ),
    errors.FailsAloneError: (
        ("the store", "500 InternalError", 12),
        ("the store", "500 InternalError", "12 times", "alone", "other calls", "farmhaul retry"),
    ),
    errors.SealBrokenError: (
        ("a task message",),
        ("a task message", "not sealed", "not used", "FARMHAUL_SECRET_KEY"),
    ),
    errors.UploadsFailedError: (
        (f"{ID}: {PATH} is empty",),
        (ID, PATH, "is empty"),
    ),
}

#: Those that a user may read as the kind of an error. What was given back is pending at once.
SHOWN = [cls for cls in EXAMPLES if cls is not errors.GivenBackError]
