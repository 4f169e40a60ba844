"""How ``farmhaul check`` compares: ftrack is asked once for all, then the files, in threads.

Only a run of the command imports this module, because ``requests`` would slow down each hook.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Lock

from tasks.config.hook_settings import HookSettings
from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.download import signer
from tasks.intake.answer import size
from tasks.intake.arguments import entries_of
from tasks.intake.command import ENQUEUE
from tasks.intake.deadline import HUNG_S, HungError, look
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import say
from tasks.intake.manifest import Entry
from tasks.intake.options import read_options
from tasks.stage.threads import STALLED_S, Threads, Unfinished, note_progress
from tasks.transfer.compare import Compared, compare
from tasks.transfer.errors import CredentialsRefusedError, FatalError, UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.inventory import Inventory, take_inventory
from tasks.transfer.put import store_session
from workers.cli.check_files import Item, Wanted, items_of, wanted_of
from workers.cli.check_heal import enqueue_again
from workers.cli.output import show
from workers.cli.tries import tried


def given_entries(
    paths: Sequence[str], *, manifest: str | None, **named: str | None
) -> list[Entry]:
    """Return the entries for the arguments of the command.

    Raises:
        BadInputError: they do not go together, or the manifest cannot be read.
    """
    if not paths and manifest is None:
        raise BadInputError("name a file to check, or use --manifest; see farmhaul check --help")
    defaults, _ = read_options(ENQUEUE, [])
    return entries_of(paths, {**defaults, **named, "manifest": manifest})


def check_here(
    settings: Settings, entries: Sequence[Entry], *, download: bool, enqueue: bool, human: bool
) -> bool:
    """Compare all files, print a line for each, and return whether all are the same."""
    hook = HookSettings.from_environment()
    stop = Event()
    wanted = _wanted(entries, hook)
    ftrack = settings.require_ftrack()
    inventory = _inventory(ftrack, wanted, stop)
    try:
        items = [item for one in wanted for item in items_of(one, inventory)]
    except FatalError as error:
        raise BadInputError(explained(error)) from None
    outcomes = _compared(settings, ftrack, items, stop, download=download, human=human)
    counts = Counter(outcome.state for outcome in outcomes)
    if human:
        show(", ".join(f"{count} {state}" for state, count in counts.most_common()) or "no files")
    elif counts["not compared"]:
        say(f"{counts['not compared']} of {len(items)} files are not compared; see --download")
    if enqueue:
        enqueue_again(settings, hook, [*zip(items, outcomes, strict=True)], human=human)
    return set(counts) <= {"same"}


def _wanted(entries: Sequence[Entry], hook: HookSettings) -> list[Wanted]:
    try:
        return look(lambda: [wanted_of(entry, hook) for entry in entries])
    except HungError as error:
        raise BadInputError(
            f"{error}: the file system does not answer here: nothing has moved for {HUNG_S:.0f} s; "
            "look at the mount on this host"
        ) from None


def _inventory(ftrack: FtrackSettings, wanted: Sequence[Wanted], stop: Event) -> Inventory:
    client = FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key)
    targets = [one.component.target for one in wanted]
    ids = {target.component_id for target in targets}
    versions = {target.version_id for target in targets if target.version_id}
    try:
        return tried(lambda: take_inventory(client, ids, versions), stop)
    except CredentialsRefusedError as error:
        raise BadInputError(
            f"{error.server} refuses FTRACK_API_USER and FTRACK_API_KEY ({error.why}); check them"
        ) from None


def _compared(
    settings: Settings,
    ftrack: FtrackSettings,
    items: Sequence[Item],
    stop: Event,
    *,
    download: bool,
    human: bool,
) -> list[Compared]:
    session = store_session(settings.connections)
    sign = signer(ftrack, session, lambda: None)
    printing = Lock()

    def on_block() -> None:
        note_progress()
        if stop.is_set():
            raise FatalError("interrupted")

    def compared(item: Item) -> Compared:
        return tried(
            lambda: compare(
                item.pair,
                sign,
                session,
                roots=settings.storage_roots,
                download=download,
                on_block=on_block,
            ),
            stop,
        )

    def report(item: Item) -> Compared:
        outcome = _of_sequence(item) or _without_error(lambda: compared(item))
        note_progress()  # one that was left behind has been reported
        with printing:
            _report(item, outcome, human=human)
        return outcome

    # Threads that nobody waits for when the command ends: a file system may hang.
    threads = Threads(settings.connections)
    try:
        ended = threads.run(items, report, lambda _: STALLED_S)
    except BaseException:
        stop.set()
        raise
    outcomes = [_hung(one) if isinstance(one, Unfinished) else one for one in ended]
    for item, one, outcome in zip(items, ended, outcomes, strict=True):
        if isinstance(one, Unfinished):
            _report(item, outcome, human=human)
    return outcomes


def _of_sequence(item: Item) -> Compared | None:
    """Return the result of a sequence that has frames in ftrack, but no location of its own."""
    if item.wanted.frames is None or item.number is not None:
        return None
    return Compared("missing in ftrack", why="the sequence itself is not in ftrack.server")


def _without_error(act: Callable[[], Compared]) -> Compared:
    try:
        return act()
    except UploadError as error:
        return Compared("not readable", why=explained(error))


def _hung(outcome: Unfinished) -> Compared:
    if outcome.why == "given back":
        why = "not begun, because other files hang; run the command again later"
        return Compared("not compared", why=why)
    hangs_in = "reading it" if outcome.why == "file" else f"the {outcome.why}"
    why = f"{hangs_in} hangs: nothing has moved for {outcome.silent_s:.0f} s"
    return Compared("not readable", why=why)


def _report(item: Item, outcome: Compared, *, human: bool) -> None:
    """Print the line of a file. In JSON, sizes are in bytes, or null if there is none."""
    pair = item.pair
    if not human:
        line = {
            "component_id": pair.component_id or None,
            "path": pair.path,
            "size": outcome.size_bytes,
            "stored_size": outcome.stored_bytes,
            "state": outcome.state,
            "why": outcome.why,
        }
        show(json.dumps(line))
    elif outcome.state != "same":
        sizes = size(outcome.size_bytes)
        if outcome.state == "size differs":
            sizes += f", {size(outcome.stored_bytes)} in ftrack"
        texts = (f"{outcome.state:<17}", pair.path, f"({sizes})", outcome.why)
        show("  ".join(text for text in texts if text))
