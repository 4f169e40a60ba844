"""The state machine on paper: its tables agree with the scripts, the pages and each other."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import product
from pathlib import Path

from tasks.intake import inbox
from tasks.records import keys
from tasks.records.scripts import assembled_scripts
from tasks.records.states import ENDED, LIVE, MOVES, STATES
from tests.docs_tables import CLI, with_states

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "img" / "states.svg"
#: What builds a key; a message for a person has a space after the colon.
KEY = re.compile(r"""["']farmhaul:(?! )|\bPREFIX\b""")
#: A hook cannot import the records; keys.py takes the inbox's key from here.
HOOK = {ROOT / "tasks/intake/inbox.py", ROOT / "tasks/intake/refusals.py"}
#: Names that the picture uses for several states.
GROUPS = {"live": LIVE, "ended": ENDED}


def test_each_state_is_live_or_ended() -> None:
    assert sorted((*LIVE, *ENDED)) == sorted(STATES)


def test_the_moves_name_states_and_scripts_that_exist() -> None:
    scripts = assembled_scripts()

    for move in MOVES:
        assert move.before in {"", *STATES}
        assert move.after in STATES
        assert {*move.scripts} <= {*scripts}, move


def test_no_move_is_listed_twice() -> None:
    moves = [(move.before, move.after) for move in MOVES]

    assert len(moves) == len({*moves})


def test_the_page_of_the_command_line_has_the_table_of_states() -> None:
    text = CLI.read_text(encoding="utf-8")

    assert text == with_states(text), "update the page: python -m tests.docs_tables"


def test_the_picture_shows_every_move_and_no_other() -> None:
    drawn = set()
    for line in ET.parse(PICTURE).iter("{http://www.w3.org/2000/svg}path"):
        if "data-before" in line.attrib:
            before, after = (
                [state for name in line.attrib[end].split() for state in GROUPS.get(name, [name])]
                for end in ("data-before", "data-after")
            )
            drawn |= set(product(before or [""], after))

    # An upload that stays in its state does not move; a file that was stored has no publish.
    drawn -= {(state, state) for state in STATES} | {("stored", "storing")}
    # Too rare for the picture: a spool that is sent late, and a component that holds other files.
    rare = {("", "superseded"), *((ended, "failed") for ended in ENDED if ended != "stored")}
    # And a located upload whose retry is cancelled.
    rare |= {(live, "located") for live in LIVE if live != "active"}
    rare = (rare | {("", "failed")}) - {("failed", "failed")}
    # And a publish of which another program has removed files from ftrack.
    rare.add(("active", "storing"))
    assert drawn | rare == {(move.before, move.after) for move in MOVES}


def test_only_keys_py_builds_the_names_of_keys() -> None:
    paths = [path for folder in ("tasks", "workers") for path in (ROOT / folder).rglob("*.*")]
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in paths
        if path.suffix in {".py", ".lua"} and path.name != "keys.py" and path not in HOOK
        for match in KEY.finditer(path.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_the_hook_and_the_records_mean_the_same_keys() -> None:
    assert keys.UPLOAD == inbox.RECORD


def test_each_name_of_a_key_in_the_scripts_is_one_of_keys_py() -> None:
    used = {
        name for text in assembled_scripts().values() for name in re.findall(r"KEY\.(\w+)", text)
    }

    assert used == {*keys.LUA_KEYS}
