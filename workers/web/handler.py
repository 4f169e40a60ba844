"""What the handlers of all pages share: how they read, act, and show that Redis is away."""

from __future__ import annotations

import asyncio
import logging
import os
from base64 import b64decode
from contextlib import suppress
from typing import Any

import redis
from flower.views import BaseHandler
from tornado import web

from tasks.config.environment import SettingsError
from tasks.config.texts import visible
from workers.web.access import Records
from workers.web.actions import OPERATOR_URL_FILE, Actions
from workers.wording import redis_problem

logger = logging.getLogger("farmhaul.web")

#: What retrying and cancelling need, apart from a Redis that answers.
NEEDS_OPERATOR = f"let {OPERATOR_URL_FILE} name a file with the operators' URL"
#: The digits of a number in an address, at most.
MOST_DIGITS = 9


class Unavailable(web.HTTPError):
    """Redis cannot be read; ``why`` says it to a person."""

    def __init__(self, why: str) -> None:
        super().__init__(503, "%s", why)
        self.why = why


class FarmhaulHandler(BaseHandler):
    """What our handlers share: the records, and errors in plain words."""

    def initialize(self, records: Records, actions: Actions) -> None:
        """Take what ``install`` hands to each handler."""
        self.records = records
        self.actions = actions

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

    async def show_elsewhere(self, some_id: str) -> None:
        """Lead to the page of what has this id: an upload, a download, a component, a version.

        If nothing with a record has it, the page says so.
        """
        place = await self.read(self.records.place_of, some_id.lower())
        if place is None:
            self.set_status(404)
            self.render("unknown.html", some_id=some_id)
            return
        self.redirect(self.reverse_url(*place))


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
