"""The documentation as a site: it builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs_tables import CLI, CONFIGURATION, with_options, with_variables
from tests.helpers.error_examples import SHOWN

ROOT = Path(__file__).resolve().parent.parent
PICTURES = sorted((ROOT / "docs" / "img").glob("*.svg"))
TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
#: Resources that a browser loads by itself, unlike a link that somebody follows.
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


@pytest.mark.slow
def test_the_site_has_each_page_of_the_documentation(site: Path) -> None:
    docs = ROOT / "docs"
    pages = {str(path.relative_to(docs).with_suffix(".html")) for path in docs.rglob("*.md")}
    managers = {f"farm/{path.parent.name}.html" for path in ROOT.glob("deploy/farm/*/README.md")}
    expected = {page.replace("README", "index") for page in pages} | managers
    expected |= {"changelog.html", "contributing.html", "security.html", "farm/index.html"}

    assert managers
    assert expected - {str(path.relative_to(site)) for path in site.rglob("*.html")} == set()


@pytest.mark.slow
def test_a_browser_loads_nothing_of_the_site_from_elsewhere(site: Path) -> None:
    found = [
        f"{page.name}: {match[0]}"
        for page in site.rglob("*.html")
        for match in LOADED.finditer(page.read_text(encoding="utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_has_a_title_and_loads_nothing(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    svg = ElementTree.fromstring(text)

    assert svg.findtext("{http://www.w3.org/2000/svg}title")
    assert re.findall(r"(?:href|src)=\S*|@import|url\((?!#)[^)]*|<script", text) == []


def test_the_packages_that_build_the_site_are_pinned_by_hash() -> None:
    lock = (ROOT / "docs" / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]

    assert "://" not in lock
    assert [it for it in entries if "==" not in it or "--hash=sha256:" not in it] == []


def test_the_tables_of_options_are_those_of_the_code() -> None:
    text = CLI.read_text(encoding="utf-8")

    assert text == with_options(text), "update them: python -m tests.docs_tables"


def test_the_table_of_variables_is_that_of_the_code() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")

    assert "| `FARMHAUL_LEASE_SECONDS` | `60` | seconds |" in text
    assert text == with_variables(text), "update it: python -m tests.docs_tables"
    assert "|  |" not in text, "a new variable needs its unit, who needs it, and what it means"


# Troubleshooting: each kind of error has an entry


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
def test_each_kind_of_error_is_explained(kind: type[Exception]) -> None:
    assert re.search(rf"(?m)^\| `{kind.__name__}` \|", TROUBLES)
