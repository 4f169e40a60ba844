"""The pages of downloads that workers make (``farmhaul fetch --enqueue``)."""

from __future__ import annotations

from typing import NamedTuple

from tornado import web

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.fetches import FetchState
from workers.web import view
from workers.web.handler import Action, FarmhaulHandler
from workers.web.timeline import Event
from workers.wording import span

#: How many downloads are listed.
SHOWN = 100
COLOURS = {
    "fetched": "success",
    "failed": "danger",
    "retrying": "warning",
    "fetching": "info",
}


class Row(NamedTuple):
    """A download as texts."""

    fetch_id: str
    state: str
    colour: str
    component_id: str
    folder: str
    percent: int
    progress: str
    rate: str
    left: str
    worker: str
    age: str
    who: str
    error: str


def row_of(fetch: FetchState, now: float) -> Row:
    """Return the texts of a download."""
    share, done = 0, size(fetch.received_bytes)
    if fetch.size_bytes:
        share = min(100 * fetch.received_bytes // fetch.size_bytes, 100)
        done = f"{done} of {size(fetch.size_bytes)}"
    files = f"{fetch.fetched} of {fetch.files} files" if fetch.files else ""
    return Row(
        fetch.fetch_id,
        visible(fetch.state),
        COLOURS.get(fetch.state, "secondary"),
        visible(fetch.component_id),
        visible(fetch.folder),
        100 if fetch.state == "fetched" else share,
        ", ".join(filter(None, (done, files))),
        f"{size(fetch.bytes_s)}/s" if fetch.bytes_s and fetch.state == "fetching" else "",
        span(fetch.left_s) if fetch.left_s else "",
        visible(fetch.worker),
        span(now - fetch.created),
        visible(fetch.who),
        visible(fetch.error),
    )


def events_of(fetch: FetchState) -> list[Event]:
    """Return the timeline of a download: what its record still tells."""
    by = f"by {fetch.who}" if fetch.who else ""
    if fetch.asked > fetch.created:
        events = [Event(fetch.created, "asked for"), Event(fetch.asked, "retried", by)]
    else:
        events = [Event(fetch.created, "asked for", by)]
    if fetch.begun:
        times = f" ({fetch.tries} tries)" if fetch.tries > 1 else ""
        events.append(Event(fetch.begun, f"begun{times}", f"on {fetch.worker}"))
    if fetch.state in {"fetched", "failed", "retrying"}:
        what = "failed" if fetch.state == "retrying" else fetch.state
        events.append(Event(fetch.updated, what, fetch.error))
    if fetch.state == "cancelled":
        # Its worker may have written since, and a former version did not write when.
        when = fetch.cancelled or fetch.updated
        events.append(Event(when, "cancelled", f"by {fetch.cancelled_by}"))
    if fetch.next_try:
        events.append(Event(fetch.next_try, "next try"))
    return events


class DownloadsView(FarmhaulHandler):
    """The latest downloads."""

    @web.authenticated
    async def get(self) -> None:
        """Show them."""
        found, now = await self.read(self.records.downloads, SHOWN)
        rows = [row_of(one, now) for one in found]
        name = "downloads_live.html" if self.is_part else "downloads.html"
        self.render(name, rows=rows, shown=SHOWN)


class DownloadView(FarmhaulHandler):
    """One download: its timeline, and why it waits or has failed."""

    @web.authenticated
    async def get(self, fetch_id: str) -> None:
        """Show it."""
        found = await self.read(self.records.download, fetch_id.lower())
        if found is None:
            await self.show_elsewhere(fetch_id)
            return
        fetch, now = found
        self.render(
            "download_live.html" if self.is_part else "download.html",
            row=row_of(fetch, now),
            events=view.timeline(events_of(fetch), now),
            due=span(fetch.next_try - now) if fetch.next_try > now else "",
            task=fetch.fetch_id in self.application.events.state.tasks,
            may_act=self.may_act,
        )


class DownloadAction(Action):
    """Retry and Cancel, if FLOWER_READ_ONLY is off."""

    @web.authenticated
    async def post(self, fetch_id: str, action: str) -> None:
        """Do it, log who did it, and show the download again."""
        fetch_id = fetch_id.lower()
        await self.act(
            f"{action} of download {fetch_id}", self.actions.change_download, action, fetch_id
        )
        self.redirect(self.reverse_url("download", fetch_id))
