"""How the presigned URL of a component's bytes is asked for."""

from __future__ import annotations

from collections.abc import Callable

import requests

from tasks.config.settings import FtrackSettings
from tasks.transfer.signed_get import signed_url


def signer(
    ftrack: FtrackSettings, session: requests.Session, before_call: Callable[[], None]
) -> Callable[[str], str]:
    """Return a function that asks ftrack for the presigned URL of a component's bytes.

    ``before_call`` is called before each API call, and may wait.
    """

    def sign(component_id: str) -> str:
        before_call()
        return signed_url(ftrack.server_url, ftrack.api_user, ftrack.api_key, component_id, session)

    return sign
