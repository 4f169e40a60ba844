"""The documentation as a site: builds without warnings, asks nobody, explains each message."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.sentinel

from tests.docs_tables import CLI, with_tables
from tests.unit.test_errors import EXAMPLES
from workers.report import redis_trouble

ROOT = Path(__file__).resolve().parent.parent
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
EVENT = re.compile(r"[a-z]+(?:_[a-z]+)+(?= )")
#: What a browser loads by itself, in distinction to a link that somebody follows.
LOADED = re.compile(
    r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=["']?(?:https?:)?//[^\s>]*"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        ["make", "-s", "site", f"SITE={folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr  # --strict: links and anchors too
    return folder


def test_the_site_has_each_page_of_the_documentation(site: Path) -> None:
    pages = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}

    assert {*pages, "changelog.html"} <= {path.name for path in site.glob("*.html")}


def test_a_browser_loads_nothing_of_the_site_from_elsewhere(site: Path) -> None:
    found = [
        f"{page.name}: {match[0]}"
        for page in site.glob("*.html")
        for match in LOADED.finditer(page.read_text(encoding="utf-8"))
    ]

    assert found == []


def test_what_builds_the_site_is_pinned_by_hash_and_names_no_place() -> None:
    lock = (ROOT / "docs" / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]

    assert "://" not in lock
    assert [one for one in entries if "==" not in one or "--hash=sha256:" not in one] == []


def test_the_tables_of_options_are_those_of_the_code() -> None:
    text = CLI.read_text(encoding="utf-8")

    assert text == with_tables(text), "write them anew: python -m tests.docs_tables"


# Configuration: each variable, with the default that the code has

#: How the pages write a default that is no number and no text.
WRITTEN = {"()": "none", "''": "none", "NO_LIMIT": "no limit", "False": "off"}


def defaults() -> dict[str, str]:
    """Give the variables that settings.py reads, each with its default as the pages write it."""
    tree = ast.parse((ROOT / "tasks" / "settings.py").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "read.value":
            name, _, default = [*node.args, *(one.value for one in node.keywords)]
            text = WRITTEN.get(ast.unparse(default)) or str(ast.literal_eval(default))
            found[ast.literal_eval(name)] = text.removesuffix(".0")
        elif isinstance(node, ast.Constant) and str(node.value).startswith("FTRACK_"):
            found |= dict.fromkeys(re.findall(r"^FTRACK_[A-Z_]+$", str(node.value)), "–")  # noqa: RUF001
    return found


def test_the_readme_lists_each_variable_with_its_default() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `((?:FTRACK|FARMHAUL|LOG)_[A-Z_]+)` \| (.+?) \|", readme)
    listed = {name: re.split(": ", cell.replace("`", ""))[0] for name, cell in rows}

    assert listed == defaults()


def test_each_variable_is_described_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").replace("`", "")
    sections = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", text))
    wrong = [
        f"{name}: {default}"
        for name, default in defaults().items()
        if default not in {"none", "–"}  # noqa: RUF001 what is said of these is not uniform
        and f"{default} unless given" not in " ".join(sections[name].lower().split())
    ]

    assert wrong == []


# Troubleshooting: each message has an entry


def messages() -> list[re.Pattern[str]]:
    """The messages that are told in full, as patterns: … stands for anything."""
    return [
        re.compile(".+".join(map(re.escape, re.split("…+", cell))), re.DOTALL)
        for cell in message_cells()
        if len(cell) > len("message")
    ]


def message_cells() -> list[str]:
    rows = [line.split(" | ") for line in TROUBLES.splitlines() if line.startswith("| ")]
    return [cell.strip("| ") for row in rows for cell in row[:2]]


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_each_kind_of_error_is_explained_with_its_message(kind: type[Exception]) -> None:
    row = re.search(rf"(?m)^\| `{kind.__name__}` \| (.+?) \|", TROUBLES)
    assert row, f"docs/troubleshooting.md has no entry for {kind.__name__}"
    said = str(kind(*EXAMPLES[kind][0]))  # type: ignore[index]

    alternatives = [re.split("…+", one) for one in row[1].split("; is ")]
    pieces = [piece.strip() for one in alternatives[:1] for piece in one if piece.strip(" :();")]
    assert [piece for piece in pieces if piece not in said and "for each" not in piece] == []


#: What a person reads as it stands; other errors of the tree have a form of their own, above.
TOLD = {"BadInputError", "FramesError", "FatalError", "FileRefusedError", "SettingsError"}
#: Here a ValueError is a line about a variable, or about an option.
SETTINGS = {"settings.py", "rate.py", "sentinel.py"}


def told(path: Path) -> Iterator[str]:
    """Give the texts with which a module raises what a person reads; … stands for values."""
    kinds = TOLD | ({"ValueError", "self.faults.append"} if path.name in SETTINGS else set())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in kinds:
            yield " ".join(literal(argument) for argument in node.args)


def literal(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(value) for value in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def first_words(text: str) -> str:
    """Give the first words that stand together and are always the same; none of one word."""
    pieces = [piece.strip() for piece in re.split("[…:;(]", text.partition("; ")[0])]
    return next((piece for piece in pieces if " " in piece), "")


def test_each_refusal_is_explained_by_its_first_words() -> None:
    paths = [path for folder in ("tasks", "workers") for path in (ROOT / folder).rglob("*.py")]
    explained = "\n".join(message_cells()).replace("`", "")
    words = {first_words(text): path.name for path in paths for text in told(path)}

    assert len(words) > 50
    missing = {one: name for one, name in words.items() if one not in explained}
    assert missing == {}, "docs/troubleshooting.md has no entry"


@pytest.mark.parametrize(
    "error",
    [
        redis.AuthenticationError("no"),
        redis.exceptions.NoPermissionError("no"),
        redis.sentinel.MasterNotFoundError("no"),
        redis.OutOfMemoryError("full"),
        redis.ConnectionError("refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_trouble_with_redis_is_explained(error: redis.RedisError) -> None:
    assert any(message.fullmatch(redis_trouble(error)) for message in messages())


def test_each_line_of_the_log_is_explained() -> None:
    events = {
        match[0]
        for folder in ("tasks", "workers")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"log.warning", "log.error", "log.exception"}
        and isinstance(node.args[0], ast.Constant)
        and (match := EVENT.match(str(node.args[0].value)))
    }

    assert events
    assert {one for one in events if f"`{one}`" not in TROUBLES} == set()
