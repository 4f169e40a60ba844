"""``farmhaul enqueue`` and ``flush-spool``: the commands that hooks call.

They run without anything that is not in the standard library. An installed ``farmhaul`` adds what
``--wait`` needs.
"""

from __future__ import annotations

import os
import sys

from tasks.config.environment import SettingsError
from tasks.config.hook_settings import HookSettings
from tasks.config.remedies import explained
from tasks.intake.answer import component_line, upload_line
from tasks.intake.arguments import components_of
from tasks.intake.bodies import make_bodies
from tasks.intake.build import request_of
from tasks.intake.deliver import FLUSH_WAIT_S, deliver, flush_spool
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import BAD_INPUT, FAILED, INTERRUPTED, NO_REDIS, complain, say
from tasks.intake.inbox import InboxError
from tasks.intake.json_text import json_text
from tasks.intake.options import HELP, Command, Option, help_text, read_options
from tasks.intake.request import PRIORITIES
from tasks.transfer.errors import UploadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tasks.intake.build import Component
    from tasks.intake.request import Request

    #: Waits for uploads, which are in these entries of the inbox, for so many seconds at most;
    #: returns the state of each, and what is wrong with it, or an empty text.
    Wait = Callable[[Sequence[str], Sequence[bytes], float | None], Sequence[tuple[str, str]]]

#: The forms of what is printed, as those of the other commands.
FORMS = ("table", "lines", "json")
FORMAT = Option("--format", "FORM", "table, lines or json; the first two are the same here.")
JSON = Option("--json", "", "The same as --format json, which is the default without a terminal.")

ENQUEUE = Command(
    "enqueue",
    "[OPTIONS] PATH...",
    """\
Queue files and image sequences for upload. Returns at once, except with --wait.

farmhaul enqueue /mnt/prod/sh010.mov --component-id 2c5e…
farmhaul enqueue '/mnt/prod/sh010.%04d.exr [1001-1240]' --version-id 9f1d… --name main
farmhaul enqueue --manifest list.jsonl --wait
farmhaul enqueue --dry-run --no-stat '/mnt/prod/sh010.%04d.exr [1-100x2]' --version-id 9f1d…

Prints a line for each upload. You can enqueue a file again: it is the same upload.
With --dry-run and --no-stat, it needs no rendered files: a submitter learns what would be refused
before anything is rendered.""",
    (
        Option("--component-id", "UUID", "The existing component to upload PATH to."),
        Option("--version-id", "UUID", "Create a component in this asset version."),
        Option(
            "--context",
            "PATH|UUID",
            "Make the version, too, unless it exists: under PROJECT/SEQUENCE/SHOT, or an id.",
        ),
        Option("--asset", "NAME", "With --context: the asset of the version."),
        Option("--asset-type", "TYPE", "With --context: the type of the asset, such as Render."),
        Option("--version-number", "N", "With --context: the number of the version; not counted."),
        Option("--version-key", "TEXT", "With --context: each key, such as a job, has a version."),
        Option("--next-version", "", "With --context: this call makes a version of its own."),
        Option("--task", "NAME|UUID", "With --context: the task of the version."),
        Option("--comment", "TEXT", "With --context: the comment of the version."),
        Option("--status", "NAME", "With --context: the status of the version."),
        Option("--name", "TEXT", "Name of the new component; by default after the file's name."),
        Option("--thumbnail", "", "Make the file the version's thumbnail."),
        Option(
            "--task-id",
            "UUID",
            "With --thumbnail: make it the thumbnail of this task, shot or project as well.",
        ),
        Option("--encode", "", "Let ftrack encode the file for review."),
        Option("--encode-only", "", "Do so, and keep only what ftrack has encoded."),
        Option("--reviewable", "", "The file is reviewed as it is: mp4, webm, jpg, png or pdf."),
        Option("--frame-range", "RANGE", "Frame range of a reviewable movie, such as 1001-1240."),
        Option("--fps", "FPS", "Frames per second of a reviewable movie."),
        Option("--resolution", "WxH", "Width and height of a reviewable, in pixels."),
        Option(
            "--metadata",
            "KEY=VALUE",
            "Metadata of the component; repeatable.",
            repeatable=True,
        ),
        Option("--version-metadata", "KEY=VALUE", "The same for its version.", repeatable=True),
        Option(
            "--attribute",
            "KEY=VALUE",
            "A custom attribute of its version; KEY= empties it; repeatable.",
            repeatable=True,
        ),
        Option("--list", "NAME|ID", "Add its version to this list; repeatable.", repeatable=True),
        Option(
            "--review-session",
            "NAME|ID",
            "Add its version to this review session; repeatable.",
            repeatable=True,
        ),
        Option("--replace", "", "Take over a component that holds other files."),
        Option("--prune", "", "Delete the frames that a sequence has in ftrack, and PATH has not."),
        Option(
            "--also-in",
            "LOCATION",
            "Register the path in this location of ftrack, too: its name or id.",
        ),
        Option("--only-in", "LOCATION", "Register the path there alone, and upload nothing."),
        Option(
            "--manifest",
            "FILENAME",
            "Read uploads from a file of JSON lines; - reads stdin.",
            once=True,
        ),
        Option(
            "--priority",
            f"[{'|'.join(PRIORITIES)}]",
            "Which pending uploads go first. The default is normal.",
        ),
        Option("--allow-missing", "", "Accept sequences with missing frames."),
        Option("--node-local", "", "Only this host sees the files."),
        Option("--allow-empty", "", "Accept files of 0 bytes."),
        Option(
            "--no-stat",
            "",
            "Do not look at the files here. A worker uploads what it finds, and cannot know if "
            "a file was cut off.",
        ),
        Option(
            "--dry-run",
            "",
            "Show what would be queued, a line for each component, and queue nothing.",
        ),
        Option("--wait", "", "Return when all uploads, and their encodings, have ended."),
        Option("--timeout", "S", "With --wait: return after this many seconds at the latest."),
        FORMAT,
        JSON,
        HELP,
    ),
)

FLUSH_SPOOL = Command(
    "flush-spool",
    "[OPTIONS]",
    """\
Enqueue the uploads in this host's spool (FARMHAUL_SPOOL).

Hooks put them there while Redis was unreachable.

farmhaul flush-spool

The next farmhaul enqueue on this host, and a worker on this host, also do this.""",
    (FORMAT, Option("--json", "", "The same as --format json."), HELP),
)

#: Said on a terminal; in JSON, the size is null.
NO_STAT = (
    "--no-stat: nobody has looked at the files; a worker uploads what is there by then, even if it "
    "was cut off"
)


def main(arguments: Sequence[str], prepare_wait: Callable[[], Wait] | None = None) -> int:
    """Run a command and return its exit code; an error becomes lines on stderr.

    Args:
        arguments: the name of the command, and its arguments.
        prepare_wait: returns what ``--wait`` waits with, before anything is sent.
    """
    name, *rest = arguments
    try:
        if name == ENQUEUE.name:
            return _enqueue(rest, prepare_wait)
        return _flush_spool(rest)
    except (BadInputError, SettingsError) as error:
        return complain(error, BAD_INPUT)
    except InboxError as error:
        return complain(error, NO_REDIS)
    except UploadError as error:
        return complain(explained(error), FAILED)
    except KeyboardInterrupt:
        return complain("interrupted; uploads that are queued continue", INTERRUPTED)


def _print(lines: Sequence[str]) -> None:
    """Print lines to stdout; whoever reads them may have gone away."""
    try:
        if sys.stdout is not None:
            # A name in any encoding must not be an error of the terminal's.
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
            print("\n".join(lines), flush=True)  # noqa: T201 the answer
    except OSError as error:
        # What is still buffered goes nowhere, also when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say(f"stdout cannot be written: {error.strerror}; nothing else went wrong")


def _enqueue(arguments: Sequence[str], prepare_wait: Callable[[], Wait] | None) -> int:
    options, paths = read_options(ENQUEUE, arguments)
    if options["help"]:
        _print([help_text(ENQUEUE)])
        return 0
    human = _is_human(options, piped="json")
    timeout_s = _timeout_s(options["timeout"])
    if timeout_s is not None and not options["wait"]:
        raise BadInputError("--timeout needs --wait; without --wait, enqueue returns at once")
    groups, settings = components_of(paths, options)
    requests = [request_of(group) for group in groups]
    if options["dry_run"]:
        return _show(groups, requests, human=human)
    wait = _wait(prepare_wait) if options["wait"] else None
    if options["no_stat"] and human:
        say(NO_STAT)

    delivered = deliver(requests, settings, say)
    if wait is None or not delivered.entries:
        _print_answers(requests, delivered.states, human=human)
        # There is nothing to wait for while Redis is away.
        return FAILED if options["wait"] else 0
    ended = wait([request.upload_id for request in requests], delivered.entries, timeout_s)
    _print_answers(requests, [state for state, _ in ended], human=human)
    troubles = {
        request.upload_id: f"{request.path}: {trouble}"
        for request, (_, trouble) in zip(requests, ended)
        if trouble
    }
    for trouble in troubles.values():
        say(trouble)
    return FAILED if troubles else 0


def _show(
    groups: Sequence[Sequence[Component]], requests: Sequence[Request], *, human: bool
) -> int:
    make_bodies(requests, 0, "")  # refuses what is too large
    _print([component_line(component, human=human) for group in groups for component in group])
    return 0


def _timeout_s(text: str | None) -> float | None:
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        seconds = -1.0
    # Not a number is not below 0 either.
    if seconds is not None and not seconds >= 0:
        raise BadInputError(f"--timeout {text!r} is not a number of seconds; write 60, or 0.5")
    return seconds


def _wait(prepare_wait: Callable[[], Wait] | None) -> Wait:
    if prepare_wait is None:
        raise BadInputError(
            "--wait needs an installed farmhaul; leave it out here, and watch the uploads with "
            "farmhaul status"
        )
    return prepare_wait()


def _print_answers(requests: Sequence[Request], states: Sequence[str], *, human: bool) -> None:
    _print([upload_line(*row, human=human) for row in zip(requests, states)])


def _is_human(options: dict[str, Any], piped: str) -> bool:
    """Return whether a person reads what is printed; ``piped`` is the form without a terminal."""
    form = options["format"]
    if form is not None and form not in FORMS:
        raise BadInputError(f"--format {form!r} is unknown; write {', '.join(FORMS)}")
    if options["json"] and form not in {None, "json"}:
        raise BadInputError(f"--json is --format json, not {form}: leave one of them out")
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    default = "table" if is_terminal else piped
    return not options["json"] and (form or default) != "json"


def _flush_spool(arguments: Sequence[str]) -> int:
    options, others = read_options(FLUSH_SPOOL, arguments)
    if options["help"]:
        _print([help_text(FLUSH_SPOOL)])
        return 0
    if others:
        raise BadInputError(f"flush-spool takes no arguments, but {others[0]!r} is one")
    human = _is_human(options, piped="lines")
    settings = HookSettings.from_environment()
    if not settings.spool:
        raise BadInputError("FARMHAUL_SPOOL is not set, so there is no spool to flush")
    try:
        count = flush_spool(settings, say, wait_s=FLUSH_WAIT_S)
    except OSError as error:
        step = "run farmhaul flush-spool as the hooks' user"
        if isinstance(error, NotADirectoryError):
            step = "it must be a folder; remove it"
        raise BadInputError(
            f"FARMHAUL_SPOOL: {error.filename} cannot be read: {error.strerror}; {step}"
        ) from None
    if human:
        _print([f"{count} {'upload' if count == 1 else 'uploads'} enqueued from the spool"])
    else:
        _print([json_text({"uploads": count}, comma=", ", colon=": ")])
    return 0
