"""The handlers of the pages: each reads in a thread, and renders one of Flower's templates.

A page that is live asks for itself again with ``part=1``, and gets what changes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tornado import web

from tasks.config.texts import visible
from tasks.intake.errors import BadInputError
from tasks.records.fetches import FetchState
from tasks.records.search import ORDER, Page
from tasks.records.states import LIVE
from tasks.transfer.targets import is_uuid
from workers.doctor.farm import GATE_STEPS, NODE_STEPS
from workers.held_back import in_force
from workers.kinds import MEANINGS
from workers.web import farm_text, view
from workers.web.handler import Action, FarmhaulHandler
from workers.web.summary import Group
from workers.web.tasks_seen import tasks_of
from workers.wording import MOST_LINES, meant_states, span

#: The rows of a page, and the most that a request may ask for.
ROWS, MOST_ROWS = 25, 100
MOST_QUERY = 300


class Looked(NamedTuple):
    """A page of what is looked for, what was found in words, the time, and where else it is."""

    page: Page
    said: str
    now: float
    elsewhere: str = ""


class SearchHandler(FarmhaulHandler):
    """A page of what a person looks for."""

    def typed(self) -> tuple[str, str]:
        """Return what a person looks for, and the state that they have chosen."""
        text = self.get_argument("q", "", escape=False)[:MOST_QUERY]
        state = self.get_argument("state", "")
        return text, state if state in ORDER else ""

    async def look(self, start: int, length: int, version: str = "") -> Looked:
        """Return a page of what is looked for."""
        text, state = self.typed()
        find = partial(self.records.page, text, state, start, length)
        try:
            page, query, now = await self.read(partial(find, version=version) if version else find)
        except BadInputError as error:  # it is read at each key, such as since:2 of since:2h
            return Looked(Page([], 0), str(error), 0.0)
        said = view.found(page, query)
        if text and not page.total:
            other = await self.read(self.records.elsewhere, text)
            said = view.elsewhere(other) or said
            if isinstance(other, FetchState):
                return Looked(page, said, now, self.reverse_url("download", other.fetch_id))
            if not other and (refused := await self.read(self.records.refused)):
                said = f"{said}. {view.refused(refused)}"
            if meant := meant_states(query.words):
                said = f"{said.rstrip('.')}; {meant}"
        return Looked(page, said, now)


class UploadsView(SearchHandler):
    """The list of uploads; it is complete without JavaScript."""

    @web.authenticated
    async def get(self) -> None:
        """Show a page of it."""
        await self.show()

    async def show(self, version: str = "") -> None:
        """Show the uploads that fit what is looked for."""
        text, state = self.typed()
        start = self.number("start", 0, 10**9)
        page, found, now, elsewhere = await self.look(start, ROWS, version)
        address = self.reverse_url("version", version) if version else self.reverse_url("uploads")

        def link(to: str = address, **changed: Any) -> str:
            values = {"q": text, "state": state} | changed
            return f"{to}?{urlencode({k: v for k, v in values.items() if v})}"

        self.render(
            "uploads.html",
            rows=[view.row_of(upload, now) for upload in page.uploads],
            page=page,
            found=found,
            elsewhere=elsewhere,
            states=ORDER,
            query=text,
            state=state,
            start=start,
            length=ROWS,
            link=link,
            link_to_summary=lambda by: link(self.reverse_url("summary"), by=by),
            version=version,
            ftrack=view.ftrack_link(version),
        )


class VersionView(UploadsView):
    """The uploads into one version."""

    @web.authenticated
    async def get(self, version_id: str) -> None:
        """Show a page of them."""
        await self.show(version_id.lower())


class SummaryView(SearchHandler):
    """Uploads by folder or version: those that are late first."""

    @web.authenticated
    async def get(self) -> None:
        """Show them, as of now: it costs more than a page that asks again should."""
        text, state = self.typed()
        by = "version" if self.get_argument("by", "") == "version" else "folder"
        groups: list[Group] = []
        now = 0.0
        try:
            found, now = await self.read(self.records.summary, text, state, by)
            groups, said = found.groups, view.summed_up(found, by)
        except BadInputError as error:
            said = str(error)
        asked = {"q": text, "state": state}
        self.render(
            "summary.html",
            by=by,
            groups=groups,
            said=said,
            text=text,
            state=state,
            query=urlencode({name: value for name, value in asked.items() if value}),
            now=now,
            span=span,
            ago=view.ago,
            quoted=view.quoted,
            visible=visible,
        )


class UploadsTable(SearchHandler):
    """The rows of the list, as DataTables asks for them."""

    @web.authenticated
    async def get(self) -> None:
        """Return a page of rows; each cell is HTML of the same template as the page."""
        start, length = self.number("start", 0, 10**9), self.number("length", ROWS, MOST_ROWS)
        version = self.get_argument("version", "").lower()
        page, found, now, elsewhere = await self.look(start, max(length, 1), version)
        rows = []
        for upload in page.uploads:
            html = self.render_string(
                "upload_cells.html", row=view.row_of(upload, now), url_for=self.reverse_url
            ).decode()
            rows.append([cell.strip() for cell in html.split("<!--cell-->")][1:])
        self.write(
            {
                "draw": self.number("draw", 0, 10**9),
                "data": rows,
                "recordsTotal": sum(page.counts.values()),
                "recordsFiltered": page.total,
                "counts": page.counts,
                "found": found,
                "elsewhere": elsewhere,
            }
        )


class UploadView(FarmhaulHandler):
    """One upload: its timeline, its files, its tasks."""

    @web.authenticated
    async def get(self, upload_id: str) -> None:
        """Show it."""
        found = await self.read(self.records.upload, upload_id.lower())
        if found is None:
            await self.show_elsewhere(upload_id)
            return
        upload, now = found.upload, found.now
        waits = ""
        if upload.state == "pending":
            farm = await self.read(self.records.farm)
            waits = farm_text.held_back_by(farm) if farm.backlog else ""
        self.render(
            "upload_live.html" if self.is_part else "upload.html",
            row=view.row_of(upload, now),
            upload=upload,
            is_live=upload.state in LIVE,
            waits=waits,
            newer=view.newer(upload),
            events=view.timeline(found.events, now),
            due=span(upload.due - now) if upload.due and upload.state == "retrying" else "",
            files=[view.row_of(file, now) for file in found.files],
            stored=[view.row_of(file, now) for file in found.stored],
            publishes=[one for one in found.publishes if is_uuid(one)],
            tasks=tasks_of(self.application.events.state.tasks, found.chain),
            ftrack=view.ftrack_link(upload.version_id),
            in_ftrack=view.in_ftrack(upload),
            may_act=self.may_act,
        )


class UploadAction(Action):
    """Retry and Cancel."""

    @web.authenticated
    async def post(self, upload_id: str, action: str) -> None:
        """Do it, and show the upload again."""
        upload_id = upload_id.lower()
        await self.act(
            f"{action} of upload {upload_id}", self.actions.change_upload, action, upload_id
        )
        self.redirect(self.reverse_url("upload", upload_id))


class GuessedView(FarmhaulHandler):
    """An address with an id that somebody has guessed, such as ``/uploads/ID``."""

    @web.authenticated
    async def get(self, some_id: str) -> None:
        """Lead to the page of what has this id."""
        await self.show_elsewhere(some_id)


class FarmView(FarmhaulHandler):
    """The nodes, the gates, the queues, and the last hour."""

    @web.authenticated
    async def get(self) -> None:
        """Show them."""
        farm = await self.read(self.records.farm)
        self.render(
            "farm_live.html" if self.is_part else "farm.html",
            farm=farm,
            charts=farm_text.charts(farm.history),
            held_back=farm_text.held_back_by(farm),
            in_force=in_force,
            shown=MOST_LINES,
            rows=MOST_ROWS,
            node_steps=NODE_STEPS,
            gate_steps=GATE_STEPS,
            kind_meanings=MEANINGS,
            span=span,
            visible=visible,
        )
