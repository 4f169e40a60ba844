"""A login for all that Flower shows, and headers that limit what a browser does with its pages.

The content security policy allows no inline script, so a page that you add loads its scripts from
``/static`` or from another file of this server. It may have inline styles.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from flower.api import BaseApiHandler
from flower.urls import settings
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, OutputTransform, authenticated

from workers.loopback import is_from_here

#: The only inline script of Flower's own, on the page Workers (``templates/workers.html``), as the
#: option auto_refresh renders it.
INLINE_SCRIPTS = ("\nvar autorefresh = 1;\n", "\nvar autorefresh = 0;\n")


def _source(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


#: Whoever guesses logins is answered so often, over however many connections.
GUESS_S = 0.2
_guessing = asyncio.Lock()

POLICY = {
    "default-src": "'none'",
    "script-src": " ".join(["'self'", *map(_source, INLINE_SCRIPTS)]),
    # DataTables and a page of Flower's set styles of single elements.
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    # For browsers that do not know frame-ancestors.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: Flower compares the header Origin, which that would empty.
    "Referrer-Policy": "same-origin",
}


class ProtectiveHeaders(OutputTransform):
    """Adds the headers to each response: to pages, files, and errors."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, _finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Tornado calls this before it sends the headers."""
        for name, value in HEADERS.items():
            headers[name] = value
        return status_code, headers, chunk


def _refuse_other_sites(page: BaseHandler) -> None:
    """Refuse what a page elsewhere has a browser on this machine ask, if no login protects Flower.

    Raises:
        HTTPError: the request names another host than loopback, or comes from another site.
    """
    options = page.application.options
    if options.basic_auth or options.auth or options.unix_socket:
        return
    words = page.request.headers
    site = words.get("Sec-Fetch-Site")
    if not is_from_here(page.request.host, words.get("Origin"), site):
        raise HTTPError(403, "without a login, Flower answers only pages of its own on loopback")


def protect() -> None:
    """Change Flower's handlers and settings; call it before Flower is made."""
    settings["transforms"] = [ProtectiveHeaders]
    # Flower asks for no login here, and the names of workers and tasks are not for everybody.
    Metrics.get = authenticated(Metrics.get)
    find_user = BaseHandler.get_current_user

    def current_user(page: BaseHandler) -> Any:
        try:
            return find_user(page)
        except TypeError:  # hmac.compare_digest compares no strings outside ASCII
            raise HTTPError(401) from None

    BaseHandler.get_current_user = current_user

    # Flower's API prepares its pages by a function of its own.
    for kind in (BaseHandler, BaseApiHandler):
        kind.prepare = _guarded(kind.prepare)


def _guarded(prepare: Callable[[BaseHandler], Any]) -> Callable[[BaseHandler], Awaitable[None]]:
    async def guarded(page: BaseHandler) -> None:
        _refuse_other_sites(page)
        prepare(page)
        if "Authorization" in page.request.headers:
            await _slow_down_guesses(page)

    return guarded


async def _slow_down_guesses(page: BaseHandler) -> None:
    """Let those wait that send a wrong login, one after the other; nobody else waits for them.

    Raises:
        HTTPError: the login is wrong.
    """
    try:
        page.current_user  # noqa: B018 it compares the login
    except HTTPError:
        async with _guessing:
            await asyncio.sleep(GUESS_S)
        raise
