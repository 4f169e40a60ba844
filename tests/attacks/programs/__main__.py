"""Run the attacks against this checkout: ``python -m tests.attacks.programs [NAME…]``.

Prints a line of JSON for each: its name, and whether it succeeds; or why it could not be tried.
"""

from __future__ import annotations

import inspect
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.attacks.programs import machine, network, redis_client
from tests.attacks.programs.ground import Ground
from tests.sandbox import Sandbox

Attack = Callable[[Ground], bool]


def _attacks() -> dict[str, Attack]:
    """Return each attack by what it does."""
    found: dict[str, Attack] = {}
    for module in (redis_client, machine, network):
        for name, value in vars(module).items():
            is_ours = getattr(value, "__module__", "") == module.__name__
            if is_ours and inspect.isfunction(value) and not name.startswith("_"):
                found[name.replace("_", " ")] = value
    return found


ATTACKS = _attacks()


def main(names: list[str]) -> None:
    """Run these attacks, or all of them, one after the other."""
    databases = itertools.cycle(range(1, 16))
    with tempfile.TemporaryDirectory(prefix="attacks") as text:
        folder = Path(text)
        with Sandbox(folder / "sandbox") as sandbox:
            for name, attack in ATTACKS.items():
                if names and name not in names:
                    continue
                sandbox.reset()
                own = folder / re.sub(r"\W", "-", name)
                own.mkdir()
                line: dict[str, object] = {"attack": name}
                try:
                    line["succeeds"] = attack(Ground(sandbox, own, next(databases)))
                except Exception as error:  # noqa: BLE001 the others are run nevertheless
                    first = str(error).partition("\n")[0]
                    line["why"] = f"{type(error).__name__}: {first}"
                with suppress(Exception):
                    sandbox.redis.client().flushall()
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
