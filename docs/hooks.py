"""What the site needs beyond docs/: pages that lie in the repository's root, and links there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
#: Pages of the site that are read in the root of the repository too.
FROM_ROOT = {"CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md"}
OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from the root; their links are as if they lay in docs/."""
    for source, page in FROM_ROOT.items():
        if (ROOT / source).exists():
            text = (ROOT / source).read_text(encoding="utf-8")
            inside = re.sub(r"\]\(docs/", "](", text)
            outside = re.sub(
                r"\]\((?=(?:deploy|tests|tasks|workers|[A-Z]+\.md)\b)", "](../", inside
            )
            files.append(File.generated(config, page, content=outside))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to such pages there; of other files of the repository show the name alone."""
    return OUTSIDE.sub(_link, markdown)


def _link(match: re.Match[str]) -> str:
    text, target, anchor = match[1], match[2].removeprefix("../"), match[3] or ""
    page = FROM_ROOT.get(target)
    return f"[{text}]({page}{anchor})" if page and (ROOT / target).exists() else text
