"""Adds the pages to Flower: handlers, templates and tabs, before its application is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flower import urls
from tornado.escape import xhtml_escape
from tornado.template import Loader, Template
from tornado.web import StaticFileHandler, url

from tasks.config.texts import visible
from workers.web import downloads, pages
from workers.web.access import Records
from workers.web.actions import Actions

#: What people write who have an id.
GUESSED = (
    r"/(?:uploads?|uploads/version|versions?|components?|publish(?:es)?|downloads?|fetch(?:es)?)"
    r"/([0-9a-fA-F-]{36})/?"
)
HERE = Path(__file__).parent
#: What all pages load ends here; our style and script follow.
HEAD_END = "</head>"
#: Flower's tabs end here; ours follow.
TABS_END = "</ul>"
#: The list on the page of a task ends here; its uploads follow.
TASK_END = "</dl>"
#: The last of them is the traceback, which scrolls: by the keyboard only if it can have the focus.
CODE, REACHABLE_CODE = '<pre class="detail-code">', '<pre class="detail-code" tabindex="0">'


def install() -> None:
    """Add the pages; Flower reads its handlers and settings when it makes its application."""
    records = Records()
    shared = {"records": records, "actions": Actions(records)}
    static = {"path": str(HERE / "static")}
    ours = [
        url(r"/uploads", pages.UploadsView, shared, name="uploads"),
        url(r"/uploads/datatable", pages.UploadsTable, shared, name="uploads_table"),
        url(r"/uploads/summary", pages.SummaryView, shared, name="summary"),
        url(r"/uploads/version/([0-9a-fA-F-]{36})", pages.VersionView, shared, name="version"),
        url(r"/upload/([0-9a-fA-F-]{36})", pages.UploadView, shared, name="upload"),
        url(
            r"/upload/([0-9a-fA-F-]{36})/(retry|cancel)",
            pages.UploadAction,
            shared,
            name="upload_action",
        ),
        url(r"/downloads", downloads.DownloadsView, shared, name="downloads"),
        url(r"/download/([0-9a-fA-F-]{36})", downloads.DownloadView, shared, name="download"),
        url(
            r"/download/([0-9a-fA-F-]{36})/(retry|cancel)",
            downloads.DownloadAction,
            shared,
            name="download_action",
        ),
        url(GUESSED, pages.GuessedView, shared),
        url(r"/farm", pages.FarmView, shared, name="farm"),
        url(r"/fh-static/(.*)", StaticFileHandler, static, name="farmhaul_static"),
    ]
    urls.handlers[:0] = ours
    urls.settings["template_loader"] = Templates(urls.settings["template_path"])


class Templates(Loader):
    """Flower's templates and ours, with our style, tabs and links in three of them."""

    def __init__(self, flowers: str) -> None:
        super().__init__(flowers, namespace={"plain": _plain})

    def _create_template(self, name: str) -> Template:
        ours = HERE / "templates" / name
        folder = ours.parent if ours.is_file() else Path(self.root)
        text = (folder / name).read_text(encoding="utf-8")
        for page, end, extra in (
            ("base.html", HEAD_END, "head.html"),
            ("navbar.html", TABS_END, "tabs.html"),
            ("task.html", TASK_END, "task_uploads.html"),
        ):
            if name == page:
                added = (HERE / "templates" / extra).read_text(encoding="utf-8")
                text = text.replace(end, f"{added}{end}", 1)
        if name == "task.html":
            before, _, after = text.rpartition(CODE)
            text = f"{before}{REACHABLE_CODE}{after}"
        # Our values are parts of a line; Flower's may have several, such as a traceback.
        escape = "plain" if ours.is_file() else "xhtml_escape"
        return Template(
            text.encode(), name=name, loader=self, autoescape=escape, whitespace="single"
        )


def _plain(value: bytes) -> str:
    """Return a value for a page: without markup, and with control characters escaped."""
    return xhtml_escape(visible(value.decode()))


def installed() -> bool:
    """Return whether the pages are among Flower's."""
    names: list[Any] = [getattr(handler, "name", "") for handler in urls.handlers]
    return "uploads" in names
