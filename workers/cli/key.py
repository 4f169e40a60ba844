"""``farmhaul key``: the keys that are made from FARMHAUL_SECRET_KEY."""

from __future__ import annotations

import os
from base64 import b64encode

import click

from tasks.config.environment import Reader, secret_keys
from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.intake.errors import BadInputError
from workers.cli.output import show


@click.group(invoke_without_command=True)
@click.pass_context
def key(context: click.Context) -> None:
    """Print keys for nodes that must not have FARMHAUL_SECRET_KEY.

    \b
    farmhaul key hook
    farmhaul key notify
    """  # noqa: D301 click takes \b for "do not wrap"
    # Not the help, as click would print: a script takes stdout for the key.
    if context.invoked_subcommand is None:
        raise click.UsageError("name the key to print: hook or notify", context)


@key.command()
def hook() -> None:
    """Print the value of FARMHAUL_HOOK_KEY, with which hooks sign their requests.

    It has a key for each key in FARMHAUL_SECRET_KEY, in the same order. Run this where that is
    set, such as on a worker's node.
    """
    show(hook_key_text([derive_hook_key(one) for one in _secret_keys("hooks")]))


@key.command()
def notify() -> None:
    """Print the keys with which notices are signed, for the receiver of FARMHAUL_NOTIFY_URL.

    One a line, for each key in FARMHAUL_SECRET_KEY, in the form of Standard Webhooks: whsec_ and
    base64. A notice has a signature by each of them.
    """
    from tasks.config.sealing import notice_keys

    for one in notice_keys(_secret_keys("notices")):
        show(f"whsec_{b64encode(one).decode()}")


def _secret_keys(what: str) -> tuple[str, ...]:
    # Nothing else of the environment is read: only the secret key matters here.
    read = Reader(os.environ)
    none: tuple[str, ...] = ()
    secret = read.value("FARMHAUL_SECRET_KEY", secret_keys, none)
    read.check()
    if not secret:
        raise BadInputError(
            f"FARMHAUL_SECRET_KEY is not set, and the key of {what} is made from it; "
            "run this where it is set, such as on a worker's node"
        )
    return secret
