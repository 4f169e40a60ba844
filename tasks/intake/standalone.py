"""farmhaul-hook.pyz as a command: those of hooks, with the settings of hook.env."""

from __future__ import annotations

import os
import sys

from tasks.config.environment import SettingsError
from tasks.config.hook_settings import HookSettings
from tasks.intake import command
from tasks.intake.arguments import entries_of
from tasks.intake.errors import BadInputError, listed
from tasks.intake.exit_codes import BAD_INPUT, NO_REDIS, complain
from tasks.intake.hook_env import HookEnvError, hook_environment, spool_in
from tasks.intake.utf8 import begin_in_utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from tasks.intake.manifest import Entry

HELP = """\
Usage: python farmhaul-hook.pyz COMMAND [OPTIONS]...

  Queue finished renders for ftrack. It needs Python 3.8 or later, and nothing else.

Commands:
  enqueue      Queue files and image sequences for upload.
  flush-spool  Enqueue the uploads in this host's spool (FARMHAUL_SPOOL).

Options:
  --version    Show the version and exit.
  -h, --help   Show this message and exit.

Settings are in hook.env next to this file, in the file that FARMHAUL_HOOK_ENV names, or in
the host's own: /etc/farmhaul/hook.env, on Windows C:\\ProgramData\\farmhaul\\hook.env."""

COMMANDS = ("enqueue", "flush-spool")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    if arguments is None:
        begin_in_utf8()
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["--version"]:
        return _print(f"farmhaul-hook.pyz {_version()}")
    if words[:1] in (["-h"], ["--help"]):
        return _print(HELP)
    if not words or words[0] not in COMMANDS:
        what = f"{words[0]!r} is not a command" if words else "no command is given"
        return complain(f"{what}: this file has {listed(COMMANDS)}; see --help", BAD_INPUT)
    try:
        environment = hook_environment()
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]  # what hook.env sets in another form
        os.environ.update(environment)
        settings = HookSettings.from_environment()
        if words[0] != "flush-spool" and not settings.storage_roots:
            raise SettingsError("FARMHAUL_STORAGE_ROOTS is not set; write it into hook.env")
    except HookEnvError as error:
        return _without_settings(words, str(error), error.settings)
    except SettingsError as error:
        return _without_settings(words, "; ".join(str(error).splitlines()), os.environ)
    return command.main(words)


def _without_settings(words: list[str], trouble: str, environment: Mapping[str, str]) -> int:
    """Do what can be done: show the help, or keep what is to be queued."""
    if {"-h", "--help"} & set(words):
        return command.main(words)
    if words[0] != "enqueue":
        return complain(trouble, BAD_INPUT)
    return _keep(words[1:], trouble, spool_in(environment))


def _keep(arguments: Sequence[str], trouble: str, folder: str) -> int:
    """Keep what cannot be sent without settings; return the exit code of "not queued"."""
    import json

    from tasks.intake.options import read_options
    from tasks.intake.spool import Spool

    try:
        options, paths = read_options(command.ENQUEUE, arguments)
        entries = entries_of(paths, options)
    except BadInputError as error:
        return complain(error, BAD_INPUT)
    if options["dry_run"]:
        return complain(trouble, BAD_INPUT)
    if options["node_local"]:
        return complain(f"{trouble}; nothing is kept, because of --node-local", NO_REDIS)
    lines = "".join(f"{json.dumps(_values(entry))}\n" for entry in entries)
    spool = Spool(folder)
    try:
        [kept] = spool.settle([spool.keep_manifest(lines.encode("ascii"))])
    except OSError as error:
        why = f"nothing is kept, because {folder} cannot be written: {error.strerror}"
        return complain(f"{trouble}; {why}", NO_REDIS)
    return complain(f"{trouble}; kept in {kept}", NO_REDIS)


def _values(entry: Entry) -> dict[str, Any]:
    """Return an entry as a line of a manifest has it; whoever sends it has another folder."""
    from tasks.config.path_map import absolute
    from tasks.intake.manifest import MANIFEST_KEYS

    values = {key: getattr(entry, key) for key in MANIFEST_KEYS}
    if entry.path:
        slash = "/" if entry.path.endswith("/") else ""  # it is a folder, and the path keeps that
        values["path"] = absolute(entry.path, ()) + slash
    return {key: value for key, value in values.items() if value not in (None, False, {}, (), [])}


def _print(text: str) -> int:
    print(text)  # noqa: T201 the answer
    return 0


def _version() -> str:
    if __name__.startswith("farmhaul_hook."):
        # In farmhaul-hook.pyz, this package has another name, and the version of its sources.
        import farmhaul_hook

        return str(farmhaul_hook.__version__)
    from importlib.metadata import version

    return version("farmhaul")
