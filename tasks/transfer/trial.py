"""A PUT of a few bytes to the store, as an upload sends a file, without a component in ftrack.

The id is always the same, and no component has it: one object of 22 bytes remains.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile

import requests

from tasks.transfer.errors import UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.put import FileBody, send
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target, derived_id

CONTENT = b"farmhaul doctor --put\n"


def sign_trial(client: FtrackClient, server_url: str) -> Transfer:
    """Have ftrack sign the PUT.

    Raises:
        UploadError: it does not.
    """
    digest = hashlib.md5(CONTENT, usedforsecurity=False).digest()
    transfer = Transfer(
        "doctor",
        Target(derived_id("doctor", server_url)),
        "farmhaul-doctor.txt",
        identity=FileIdentity(len(CONTENT), 0, 0, 0),
        checksum=base64.b64encode(digest).decode(),
    )
    signed = sign(client, [transfer], check=False)[transfer.upload_id]
    if isinstance(signed, UploadError):
        raise signed
    return signed


def send_trial(signed: Transfer, session: requests.Session) -> None:
    """Send the bytes.

    Raises:
        UploadError: the store does not take them.
    """
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        send(signed, FileBody(file, signed.path, len(CONTENT), lambda _sent_bytes: None), session)


def put_trial(client: FtrackClient, server_url: str, session: requests.Session) -> None:
    """Sign and send.

    Raises:
        UploadError, FtrackRefusal: ftrack or the store does not take it.
    """
    send_trial(sign_trial(client, server_url), session)
