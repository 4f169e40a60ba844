"""The official Python client, turned to a sandbox."""

from __future__ import annotations

import warnings
from typing import Any

from . import seed
from .whole import Sandbox


def official_client(sandbox: Sandbox, **options: Any) -> Any:
    """An ``ftrack_api.Session``: a context manager; *options* are the Session's."""
    with warnings.catch_warnings():
        # Its old pyparsing uses modules that Python has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        import ftrack_api

    return ftrack_api.Session(
        **{
            "server_url": sandbox.env["FTRACK_SERVER"],
            "api_user": seed.API_USER,
            "api_key": seed.API_KEY,
            "auto_connect_event_hub": False,
            # Its cache is one file for all servers of a user.
            "schema_cache_path": False,
            "plugin_paths": [],
            **options,
        }
    )
