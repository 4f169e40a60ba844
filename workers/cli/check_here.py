"""How ``farmhaul check`` compares: ftrack is asked once for all, then the files, in threads.

Only a run of the command imports this module, because ``requests`` would slow down each hook.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import TypeVar

from tasks.config.hook_settings import HookSettings
from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.download import signer
from tasks.intake.answer import size
from tasks.intake.deadline import HUNG_S, HungError, look
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import say
from tasks.intake.manifest import Entry
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.scripts import open_scripts
from tasks.stage.threads import STALLED_S, Threads, Unfinished, note_progress
from tasks.transfer.compare import Compared, Pair, compare
from tasks.transfer.errors import CredentialsRefusedError, FatalError, UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.inventory import Inventory, Known, take_inventory
from tasks.transfer.lookup import patterns_of
from tasks.transfer.put import store_session
from workers.cli.check_asked import Asked
from workers.cli.check_files import Item, Wanted, items_of, wanted_of
from workers.cli.check_heal import enqueue_again
from workers.cli.check_listed import listed_by_records, listed_in
from workers.cli.output import show
from workers.cli.tries import tried

T = TypeVar("T")

NO_PATH = "no record of farmhaul shows where it lies on disk; name its folder with --in"


def check_here(
    settings: Settings, asked: Asked, *, download: bool, enqueue: bool, human: bool
) -> bool:
    """Compare all files, print a line for each, and return whether all are the same.

    Raises:
        BadInputError: what is asked for cannot be compared.
    """
    asked.check()
    hook = HookSettings.from_environment()
    ftrack = settings.require_ftrack()
    stop = Event()
    if asked.is_listed:
        wanted, unknown, inventory = _listed(settings, asked, hook, stop)
    else:
        wanted, unknown = _wanted(_kept(asked.entries()), hook), []
        targets = [one.component.target for one in wanted]
        ids = {target.component_id for target in targets}
        versions = {target.version_id for target in targets if target.version_id}
        inventory = _asked(ftrack, lambda client: take_inventory(client, ids, versions), stop)
    try:
        items = [item for one in wanted for item in items_of(one, inventory)]
    except FatalError as error:
        raise BadInputError(explained(error)) from None
    outcomes = _compared(settings, ftrack, items, stop, download=download, human=human)
    counts = Counter(outcome.state for outcome in outcomes)
    for known in unknown:
        lost = Compared("not readable", why=NO_PATH)
        counts[lost.state] += 1
        _report(Pair("", known.component_id), lost, human=human)
    if human:
        show(", ".join(f"{count} {state}" for state, count in counts.most_common()) or "no files")
    elif counts["not compared"]:
        say(f"{counts['not compared']} of {len(items)} files are not compared; see --download")
    if enqueue:
        enqueue_again(settings, hook, [*zip(items, outcomes, strict=True)], human=human)
    return set(counts) <= {"same"}


def _listed(
    settings: Settings, asked: Asked, hook: HookSettings, stop: Event
) -> tuple[list[Wanted], list[Known], Inventory]:
    """Return what is to be compared of components and versions, as ftrack has them."""
    ids = [one.lower() for one in asked.component_ids]
    versions = [one.lower() for one in asked.version_ids]

    def take(client: FtrackClient) -> tuple[Inventory, dict[str, str]]:
        inventory = take_inventory(client, ids, versions)
        return inventory, patterns_of(client, [*inventory.known]) if asked.folder else {}

    inventory, patterns = _asked(settings.require_ftrack(), take, stop)
    for one in ids:
        if one not in inventory.known:
            raise BadInputError(f"ftrack has no component {one}, or this user may not see it")
    if asked.folder:
        found = listed_in(os.path.abspath(asked.folder), inventory, patterns)
    else:
        scripts = open_scripts(settings, fail_fast_redis(settings))
        found = listed_by_records(scripts, inventory, ids, versions)
    return _wanted(found.entries, hook), found.unknown, inventory


def _kept(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of which ftrack keeps the file."""
    kept = [entry for entry in entries if not entry.encode_only]
    if len(kept) < len(entries):
        count = len(entries) - len(kept)
        say(f"{count} files with encode_only are left out: ftrack keeps only what it has encoded")
    return kept


def _wanted(entries: Sequence[Entry], hook: HookSettings) -> list[Wanted]:
    try:
        return look(lambda: [wanted_of(entry, hook) for entry in entries])
    except HungError as error:
        raise BadInputError(
            f"{error}: the file system does not answer here: nothing has moved for {HUNG_S:.0f} s; "
            "look at the mount on this host"
        ) from None


def _asked(ftrack: FtrackSettings, ask: Callable[[FtrackClient], T], stop: Event) -> T:
    client = FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key)
    try:
        return tried(lambda: ask(client), stop)
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
            _report(item.pair, outcome, human=human)
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
            _report(item.pair, outcome, human=human)
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


def _report(pair: Pair, outcome: Compared, *, human: bool) -> None:
    """Print the line of a file. In JSON, sizes are in bytes, or null if there is none."""
    if not human:
        line = {
            "component_id": pair.component_id or None,
            "path": pair.path or None,
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
        texts = (f"{outcome.state:<17}", pair.path or pair.component_id, f"({sizes})", outcome.why)
        show("  ".join(text for text in texts if text))
