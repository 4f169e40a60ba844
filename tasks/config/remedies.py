"""The remedy for each error: settings and commands, which ``tasks.transfer`` does not know."""

from __future__ import annotations

import os

from tasks.config.texts import visible
from tasks.transfer import errors

#: The longest line of an error, which a record keeps for days: two paths of 4096 characters, and
#: words.
MAX_LINE = 10_000

REMEDIES: dict[type[errors.UploadError], str] = {
    errors.CredentialsRefusedError: (
        "uploads wait until you correct FTRACK_API_USER and FTRACK_API_KEY and restart the workers"
    ),
    errors.InterceptedError: (
        "look for a proxy, portal or firewall on the way, and check FTRACK_SERVER"
    ),
    errors.FileShrunkError: "if that is right, enqueue it again",
    errors.RequestRefusedError: "fix it in ftrack, then: farmhaul retry ID",
    errors.StoreRefusedError: "ask the administrators of the store, then: farmhaul retry ID",
    errors.FailsAloneError: "find out what is special about it, then: farmhaul retry ID",
    errors.SealBrokenError: "is FARMHAUL_SECRET_KEY the same on all nodes?",
}

FILE_REMEDIES: dict[errors.FileFault, str] = {
    "empty": "to upload empty files, use --allow-empty",
    "outdated": "enqueue it again",
    "unmapped": "map this path of Windows to a folder of this node with FARMHAUL_PATH_MAP",
    "outside_roots": "move it there, or add its folder to FARMHAUL_STORAGE_ROOTS",
}

TARGET_REMEDIES: dict[errors.Taken, str] = {
    "": "give another id, or fix it in ftrack, then: farmhaul retry ID",
    "name": "use another --name, --replace, or another version",
    "component": "use --replace, or another component",
    "context": "correct it, or make it in ftrack, then: farmhaul retry ID",
    "folder": "correct FARMHAUL_LOCATIONS or --also-in, --only-in or FARMHAUL_ALSO_IN, and retry",
    "location": "correct --also-in, --only-in or FARMHAUL_ALSO_IN, and enqueue it again",
}


def explained(error: Exception) -> str:
    """Return the message of an error with its remedy, if there is one."""
    remedy = REMEDIES.get(type(error), "") if isinstance(error, errors.UploadError) else ""
    if isinstance(error, (errors.FileNotReadyError, errors.FileRefusedError)):
        remedy = FILE_REMEDIES.get(error.fault, "")
    if isinstance(error, errors.TargetRefusedError):
        remedy = TARGET_REMEDIES.get(error.taken, "")
    if isinstance(error, errors.OwnSettingsError):
        from tasks.config.trust import remedy_for  # imported here, because no hook needs it

        remedy = remedy_for(error, os.environ)
    text = f"{error}; {remedy}" if remedy else str(error)
    # A file system or a server may have given a part of it. One line for each upload stays one.
    return "\n".join(_bounded(visible(line)) for line in text.split("\n"))


def with_id(text: str, upload_id: str) -> str:
    """Return a text of ``explained`` with the id of the upload that it is about.

    It is put in where the text is read: an error of a task knows no upload.
    """
    return text.replace("farmhaul retry ID", f"farmhaul retry {upload_id}")


def _bounded(line: str) -> str:
    """Return a line without its middle, if that is a text of a server which never ends."""
    cut = len(line) - MAX_LINE
    return line if cut <= 0 else f"{line[: MAX_LINE // 2]}… ({cut} more) …{line[-MAX_LINE // 2 :]}"
