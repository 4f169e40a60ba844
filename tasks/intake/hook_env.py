"""hook.env: the settings of the hooks on a host, in lines NAME='VALUE'.

The file that FARMHAUL_HOOK_ENV names, else hook.env next to farmhaul-hook.pyz, else the host's own.
A manager starts hooks in environments of many kinds, so the file wins over the environment.
"""

from __future__ import annotations

import os
import sys
from stat import S_ISFIFO

from tasks.config.texts import MAX_BYTES, NotTextError, byte_that_is_no_text, decode_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "hook.env"


class HookEnvError(Exception):
    """hook.env cannot be used; the text names the file, the user or the line, and the remedy."""

    def __init__(self, text: str, settings: Mapping[str, str]) -> None:
        super().__init__(text, settings)
        self.settings = settings
        """What can be known without the file: enough to keep a request."""

    def __str__(self) -> str:
        return str(self.args[0])


def hook_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment, or os.environ, with the settings of hook.env and with a spool.

    Raises:
        HookEnvError: the file is there and cannot be read, or a line of it is not a setting.
    """
    known = dict(os.environ if environment is None else environment)
    given = known.get("FARMHAUL_HOOK_ENV", "")
    folders = [*_beside(), _home(known)]
    for path in [given] if given else [os.path.join(folder, NAME) for folder in folders]:
        try:
            if S_ISFIFO(os.stat(path).st_mode):  # to open it would wait for who writes into it
                raise HookEnvError(f"{path} is a FIFO; make it a file", _kept(known))
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            if given:
                raise HookEnvError(
                    f"FARMHAUL_HOOK_ENV: there is no file {path}", _kept(known)
                ) from error
            continue
        except OSError as error:
            raise HookEnvError(
                f"{path} cannot be read by the user {_user()}: {error.strerror}; "
                "let the user that runs the hooks read it",
                _kept(known),
            ) from None
        if len(content) > MAX_BYTES:
            why = f"{path} has more than {MAX_BYTES >> 20} MiB; is it the right file?"
            raise HookEnvError(why, _kept(known))
        settings, faults = parse(content)
        for name in settings:  # the file wins, in whichever of the two forms it has a setting
            known.pop(f"{name}_FILE", None)
            known.pop(name[: -len("_FILE")] if name.endswith("_FILE") else "", None)
        known.update(settings)
        if faults:
            raise HookEnvError(f"{path}: {'; '.join(faults)}", _kept(known))
        break
    return _kept(known)


def parse(content: bytes) -> tuple[dict[str, str], list[str]]:
    """Return the settings of a file, and what is wrong with it; a bad line spoils no other one."""
    settings = {}
    faults = []
    try:
        # Windows' own texts may be in a code page. Only the lines with such letters are unclear.
        text = decode_text(content, "surrogateescape")
    except NotTextError:  # half a character of UTF-16, or UTF-16 without a mark
        return {}, ["is not UTF-8 text; save the file as UTF-8"]
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line.startswith("#"):
            continue
        try:
            name, value = _setting(line)
            settings[name] = value
        except ValueError as error:
            faults.append(f"line {number} {error}")
    return settings, faults


def _setting(line: str) -> tuple[str, str]:
    """Return the name and the value of a line. Not by re, whose import a hook would wait for."""
    name, equals, value = line.partition("=")
    name, value = name.strip(), value.strip()
    if name.startswith("export "):
        name = name[len("export ") :].strip()
    quote = value[:1] if value[:1] in {"'", '"'} else ""
    if quote:
        value, end, rest = value[1:].partition(quote)
    else:
        end = "\n"
        value, space, rest = value.partition(" ")
        rest = space + rest
    is_comment = not rest.strip() or (rest[0].isspace() and rest.strip().startswith("#"))
    if not (equals and name.isidentifier() and name.isascii() and end and is_comment):
        raise ValueError("is not NAME='VALUE'")
    if not quote and not {"'", '"'}.isdisjoint(value):
        raise ValueError("is not NAME='VALUE'")
    if byte_that_is_no_text(line):
        raise ValueError("is not UTF-8 text; save the file as UTF-8")
    if not value.replace("\t", " ").isprintable():
        raise ValueError(f"has {name} with a character that does not print; write it again")
    if quote != "'" and not {"$", "`"}.isdisjoint(value):
        # A shell would put something else there, and this is not a shell.
        raise ValueError(f"has {name} with $ or `; write its value in single quotes")
    return name, value


def spool_in(environment: Mapping[str, str]) -> str:
    """Return the spool of a hook whose settings may be wrong, so that it can keep a request."""
    folder = environment.get("FARMHAUL_SPOOL", "")
    return folder if os.path.isabs(folder) else default_spool(environment)


def default_spool(environment: Mapping[str, str]) -> str:
    """Return the spool of a host where none is set."""
    if os.name == "nt":
        return os.path.join(_home(environment), "spool")
    return "/var/spool/farmhaul"


def _beside() -> list[str]:
    """Return farmhaul-hook.pyz, which may be a folder that it was unpacked into, and its folder."""
    if not __name__.startswith("farmhaul_hook."):
        return []  # this is an installed farmhaul
    package = sys.modules["farmhaul_hook"]  # a module that comes from bytecode has no __file__
    place = os.path.dirname(os.path.dirname(str(package.__file__)))
    return [place, os.path.dirname(place)]


def _home(environment: Mapping[str, str]) -> str:
    if os.name == "nt":
        # os.environ has its names in capitals there.
        return os.path.join(environment.get("PROGRAMDATA") or r"C:\ProgramData", "farmhaul")
    return "/etc/farmhaul"


def _kept(environment: dict[str, str]) -> dict[str, str]:
    if not environment.get("FARMHAUL_SPOOL"):
        environment["FARMHAUL_SPOOL"] = default_spool(environment)
    return environment


def _user() -> str:
    if os.name == "nt":
        return os.environ.get("USERNAME", "") or "of this process"
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
