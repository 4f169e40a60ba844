"""The handlers of the pages: each reads in a thread, and renders one of Flower's templates.

A page that is live asks for itself again with ``part=1``, and gets what changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from base64 import b64decode
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import redis
from flower.views import BaseHandler
from tornado import web

from tasks.config.environment import SettingsError
from tasks.config.texts import visible
from tasks.intake.errors import BadInputError
from tasks.records.fetches import FetchState
from tasks.records.search import ORDER, Page
from tasks.records.states import LIVE
from tasks.transfer.targets import is_uuid
from workers.doctor.farm import GATE_STEPS, NODE_STEPS
from workers.held_back import in_force
from workers.kinds import MEANINGS
from workers.web import view
from workers.web.access import OPERATOR_URL_FILE, Records
from workers.web.summary import Group
from workers.web.tasks_seen import tasks_of
from workers.wording import MOST_LINES, meant_states, redis_problem, span

logger = logging.getLogger("farmhaul.web")

#: What retrying and cancelling need, apart from a Redis that answers.
NEEDS_OPERATOR = f"let {OPERATOR_URL_FILE} name a file with the operators' URL"
#: The rows of a page, and the most that a request may ask for.
ROWS, MOST_ROWS = 25, 100
MOST_QUERY, MOST_DIGITS = 300, 9


class Looked(NamedTuple):
    """A page of what is looked for, what was found in words, the time, and where else it is."""

    page: Page
    said: str
    now: float
    elsewhere: str = ""


class FarmhaulHandler(BaseHandler):
    """What our handlers share: the records, and errors in plain words."""

    def initialize(self, records: Records) -> None:
        """Take what ``install`` hands to each handler."""
        self.records = records

    async def read(self, call: Any, *values: Any) -> Any:
        """Call in a thread, because Redis is asked there.

        Raises:
            HTTPError: Redis cannot be read.
        """
        try:
            return await asyncio.to_thread(call, *values)
        except redis.RedisError as error:
            raise Unavailable(redis_problem(error)) from None
        except SettingsError as error:
            raise Unavailable(str(error)) from None

    def write_error(self, status_code: int, **named: Any) -> None:
        """Show what is wrong with Redis on a page, and leave other errors to Flower."""
        error = (named.get("exc_info") or (None, None))[1]
        if isinstance(error, Unavailable):
            self.set_status(503)
            self.render("unavailable.html", why=error.why)
            return
        super().write_error(status_code, **named)

    @property
    def is_part(self) -> bool:
        """Whether the page asks for what changes."""
        return str(self.get_argument("part", "")) == "1"

    @property
    def may_act(self) -> bool:
        """Whether FLOWER_READ_ONLY is off."""
        return not bool(self.application.options.read_only)

    def number(self, name: str, default: int, most: int) -> int:
        """Return a number of the query, within its bounds."""
        text = self.get_argument(name, "")
        if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
            return default
        return min(int(text), most)

    def typed(self) -> tuple[str, str]:
        """Return what a person looks for, and the state that they have chosen."""
        text = self.get_argument("q", "", escape=False)[:MOST_QUERY]
        state = self.get_argument("state", "")
        return text, state if state in ORDER else ""

    async def show_elsewhere(self, one: str) -> None:
        """Lead to the page of what has this id: an upload, a download, a component, a version.

        If nothing with a record has it, the page says so.
        """
        place = await self.read(self.records.place_of, one.lower())
        if place is None:
            self.set_status(404)
            self.render("unknown.html", one=one)
            return
        self.redirect(self.reverse_url(*place))

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


class Unavailable(web.HTTPError):
    """Redis cannot be read; ``why`` says it to a person."""

    def __init__(self, why: str) -> None:
        super().__init__(503, "%s", why)
        self.why = why


class UploadsView(FarmhaulHandler):
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


class SummaryView(FarmhaulHandler):
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


class UploadsTable(FarmhaulHandler):
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
        one = await self.read(self.records.one, upload_id.lower())
        if one is None:
            await self.show_elsewhere(upload_id)
            return
        upload, now = one.upload, one.now
        waits = ""
        if upload.state == "pending":
            farm = await self.read(self.records.farm)
            waits = view.held_back_by(farm) if farm.backlog else ""
        self.render(
            "upload_live.html" if self.is_part else "upload.html",
            row=view.row_of(upload, now),
            upload=upload,
            is_live=upload.state in LIVE,
            waits=waits,
            newer=view.newer(upload),
            events=view.timeline(one.events, now),
            due=span(upload.due - now) if upload.due and upload.state == "retrying" else "",
            files=[view.row_of(file, now) for file in one.files],
            stored=[view.row_of(file, now) for file in one.stored],
            publishes=[one for one in one.publishes if is_uuid(one)],
            tasks=tasks_of(self.application.events.state.tasks, one.chain),
            ftrack=view.ftrack_link(upload.version_id),
            in_ftrack=view.in_ftrack(upload),
            may_act=self.may_act,
        )


class Action(FarmhaulHandler):
    """What people may do if FLOWER_READ_ONLY is off."""

    def check_xsrf_cookie(self) -> None:
        """Require the token of our own page, also where Flower needs none."""
        super().check_xsrf_cookie()
        web.RequestHandler.check_xsrf_cookie(self)

    async def act(self, what: str, call: Any, *values: Any) -> None:
        """Do it, and log who did it.

        Raises:
            HTTPError: Flower is read-only, or Redis does not take it.
        """
        if not self.may_act:
            raise web.HTTPError(403, "Flower is read-only here: FLOWER_READ_ONLY is on")
        try:
            state = await self.read(call, *values, self.login)
        except Unavailable as error:
            logger.warning("%s by %s failed", what, self.login)
            hint = "" if os.environ.get(OPERATOR_URL_FILE) else f"; {NEEDS_OPERATOR}"
            raise Unavailable(f"{error.why}{hint}") from None
        logger.info("%s by %s: it is %s", what, self.login, state)

    @property
    def login(self) -> str:
        """The name of the login, for the log."""
        if isinstance(self.current_user, str):
            return visible(self.current_user)
        header = self.request.headers.get("Authorization", "").partition(" ")[2]
        with suppress(ValueError):
            return visible(b64decode(header).decode().partition(":")[0]) or "nobody"
        return "nobody"


class UploadAction(Action):
    """Retry and Cancel."""

    @web.authenticated
    async def post(self, upload_id: str, action: str) -> None:
        """Do it, and show the upload again."""
        upload_id = upload_id.lower()
        await self.act(f"{action} of upload {upload_id}", self.records.act, action, upload_id)
        self.redirect(self.reverse_url("upload", upload_id))


class GuessedView(FarmhaulHandler):
    """An address with an id that somebody has guessed, such as ``/uploads/ID``."""

    @web.authenticated
    async def get(self, one: str) -> None:
        """Lead to the page of what has this id."""
        await self.show_elsewhere(one)


class FarmView(FarmhaulHandler):
    """The nodes, the gates, the queues, and the last hour."""

    @web.authenticated
    async def get(self) -> None:
        """Show them."""
        farm = await self.read(self.records.farm)
        self.render(
            "farm_live.html" if self.is_part else "farm.html",
            farm=farm,
            charts=view.charts(farm.history),
            held_back=view.held_back_by(farm),
            in_force=in_force,
            shown=MOST_LINES,
            rows=MOST_ROWS,
            node_steps=NODE_STEPS,
            gate_steps=GATE_STEPS,
            kind_meanings=MEANINGS,
            span=span,
            visible=visible,
        )
