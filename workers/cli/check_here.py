"""How ``farmhaul check`` compares: ftrack is asked once for all, then the files, in threads.

Only a run of the command imports this module, because ``requests`` would slow down each hook.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event, Lock
from typing import TypeVar

from tasks.config.hook_settings import HookSettings
from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.intake.answer import size
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import say
from tasks.intake.manifest import Entry
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.scripts import open_scripts
from tasks.stage.comparison import compare_all
from tasks.stage.threads import Threads
from tasks.stage.tries import NOT_BEGUN, tried
from tasks.transfer.compare import NO_LOCATION, Compared, Pair
from tasks.transfer.errors import CredentialsRefusedError, FatalError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.hanging import HUNG_S, HungError, look
from tasks.transfer.inventory import Inventory, take_inventory, versions_of
from tasks.transfer.lookup import patterns_of
from tasks.transfer.put import store_session
from tasks.transfer.thumbnails import thumbnail_id
from workers.cli.check_asked import Asked
from workers.cli.check_farm import compare_by_farm
from workers.cli.check_files import Item, Wanted, items_of, wanted_of
from workers.cli.check_heal import enqueue_again
from workers.cli.check_listed import listed_by_records, listed_in
from workers.cli.output import show

T = TypeVar("T")


def check_here(
    settings: Settings, asked: Asked, *, farm: bool, download: bool, enqueue: bool, human: bool
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
        wanted, unknown = _wanted(_kept(asked.entries()), hook), {}
        targets = [entry.component.target for entry in wanted]
        ids = {target.component_id for target in targets}
        versions = {target.version_id for target in targets if target.version_id}
        inventory = _asked(ftrack, lambda client: take_inventory(client, ids, versions), stop)
    try:
        items = [item for entry in wanted for item in items_of(entry, inventory)]
    except FatalError as error:
        raise BadInputError(explained(error)) from None
    results = Results(items, human=human)
    for number, item in enumerate(items):
        if outcome := _of_sequence(item):
            results.add(number, outcome)
    if farm:
        compare_by_farm(settings, results.pairs(), download=download, on_result=results.add)
    else:
        _compare_here(settings, results, stop, download=download)
    outcomes = results.all()
    counts = Counter(outcome.state for outcome in outcomes)
    without_md5 = sum(
        outcome.state == "not compared" and outcome.why != NOT_BEGUN for outcome in outcomes
    )
    for component_id, why in unknown.items():
        counts["not readable"] += 1
        _report(Pair("", component_id), Compared("not readable", why=why), human=human)
    if human:
        show(", ".join(f"{count} {state}" for state, count in counts.most_common()) or "no files")
    elif without_md5:
        say(f"{without_md5} of {len(items)} files are not compared; see --download")
    if enqueue:
        enqueue_again(settings, hook, [*zip(items, outcomes, strict=True)], human=human)
    return set(counts) <= {"same"}


def _listed(
    settings: Settings, asked: Asked, hook: HookSettings, stop: Event
) -> tuple[list[Wanted], dict[str, str], Inventory]:
    """Return what is to be compared of components and versions, as ftrack has them."""
    ids = [component_id.lower() for component_id in asked.component_ids]
    versions = [version_id.lower() for version_id in asked.version_ids]

    # A thumbnail is no component of its version. With a folder, nobody has fetched it there.
    hidden = [] if asked.folder else [thumbnail_id(version_id) for version_id in versions]

    def take(client: FtrackClient) -> tuple[Inventory, dict[str, str], set[str]]:
        inventory = take_inventory(client, [*ids, *hidden], versions)
        patterns = patterns_of(client, [*inventory.known]) if asked.folder else {}
        empty = {*versions}.difference(known.version_id for known in inventory.known.values())
        return inventory, patterns, empty - versions_of(client, empty)

    inventory, patterns, gone = _asked(settings.require_ftrack(), take, stop)
    for component_id in ids:
        if component_id not in inventory.known:
            raise BadInputError(
                f"ftrack has no component {component_id}, or this user may not see it"
            )
    if asked.folder:
        found = listed_in(os.path.abspath(asked.folder), inventory, patterns)
    else:
        scripts = open_scripts(settings, fail_fast_redis(settings))
        found = listed_by_records(scripts, inventory, ids, versions)
    # What a record shows of a version that somebody has deleted is missing in ftrack.
    for version_id in gone.difference(str(entry.version_id) for entry in found.entries):
        raise BadInputError(f"ftrack has no version {version_id}, or this user may not see it")
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
        return tried(lambda: ask(client), stop, say)
    except CredentialsRefusedError as error:
        raise BadInputError(
            f"{error.server} refuses FTRACK_API_USER and FTRACK_API_KEY ({error.why}); check them"
        ) from None


def _compare_here(settings: Settings, results: Results, stop: Event, *, download: bool) -> None:
    # Threads that nobody waits for when the command ends: a file system may hang.
    compare_all(
        results.pairs(),
        Threads(settings.connections),
        settings.require_ftrack(),
        store_session(settings.connections),
        roots=settings.storage_roots,
        download=download,
        stop=stop,
        on_result=results.add,
    )
    for number in results.pairs():
        results.add(number, Compared("not compared", why=NOT_BEGUN))


class Results:
    """The results of files, in their order; the first one of each is printed."""

    def __init__(self, items: Sequence[Item], *, human: bool) -> None:
        self._items = items
        self._human = human
        self._found: dict[int, Compared] = {}
        self._printing = Lock()

    def add(self, number: int, outcome: Compared) -> None:
        """Note the result of a file, and print its line."""
        with self._printing:
            if number not in self._found:
                item = self._items[number]
                if outcome.state == "missing in ftrack" and not outcome.why:
                    outcome = replace(outcome, why=item.lacks)
                self._found[number] = outcome
                _report(item.pair, outcome, human=self._human)

    def pairs(self) -> dict[int, Pair]:
        """Return the files without a result, by their numbers."""
        numbered = enumerate(self._items)
        return {number: item.pair for number, item in numbered if number not in self._found}

    def all(self) -> list[Compared]:
        """Return the result of each file."""
        return [self._found[number] for number in range(len(self._items))]


def _of_sequence(item: Item) -> Compared | None:
    """Return the result of a sequence that has frames in ftrack, but no location of its own."""
    if item.wanted.frames is None or item.number is not None:
        return None
    is_path_alone = bool(item.wanted.component.target.only_in)
    why = NO_LOCATION if is_path_alone else "the sequence itself is not in ftrack.server"
    return Compared("missing in ftrack", why=why)


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
