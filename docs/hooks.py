"""Add pages from elsewhere in the repository to the site, and make links lead to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
FARM = "deploy/farm"
#: Pages of the site that are kept elsewhere, where a reader of the repository looks for them.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    f"{FARM}/README.md": "farm/index.md",
    "deploy/ansible/README.md": "ansible.md",
} | {
    f"{FARM}/{path.parent.name}/README.md": f"farm/{path.parent.name}.md"
    for path in sorted((ROOT / FARM).glob("*/README.md"))
}
SOURCES = {page: source for source, page in PAGES.items()}
#: A link or picture with a relative target.
LINK = re.compile(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are kept elsewhere."""
    for source, page in PAGES.items():
        if (ROOT / source).exists():
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Make links to such pages lead to the site; for other files, show only the name."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        on_site = PAGES.get(path) or (path[5:] if path.startswith("docs/") else "")
        if not (on_site and (ROOT / path).exists()):
            # A broken link within docs/ stays, so that the build fails.
            return match[0] if path.startswith("docs/") else text
        return f"[{text}]({posixpath.relpath(on_site, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(link, markdown)
