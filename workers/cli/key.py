"""``farmhaul key``: the keys that are made from FARMHAUL_SECRET_KEY."""

from __future__ import annotations

import os

import click

from tasks.config.environment import Reader, secret_keys
from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.intake.errors import BadInputError
from workers.cli.output import show


@click.group()
def key() -> None:
    """Print keys for nodes that must not have FARMHAUL_SECRET_KEY.

    \b
    farmhaul key hook
    """  # noqa: D301 click takes \b for "do not wrap"


@key.command()
def hook() -> None:
    """Print the value of FARMHAUL_HOOK_KEY, with which hooks sign their requests.

    It has a key for each key in FARMHAUL_SECRET_KEY, in the same order. Run this where that is
    set, such as on a worker's node.
    """
    # Nothing else of the environment is read: only the secret key matters here.
    read = Reader(os.environ)
    none: tuple[str, ...] = ()
    secret = read.value("FARMHAUL_SECRET_KEY", secret_keys, none)
    read.check()
    if not secret:
        raise BadInputError(
            "FARMHAUL_SECRET_KEY is not set, and the key of hooks is made from it; "
            "run this where it is set, such as on a worker's node"
        )
    show(hook_key_text([derive_hook_key(one) for one in secret]))
