"""A control call: whether a service answers anything, if it has failed all uploads of a batch.

Without other uploads, nothing else tells a service that is down from one that fails for this upload
alone, which would wait for a day. Nor does anything else tell a node without a network from one
that met the poison uploads.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.stage.context import Clients
from tasks.transfer.errors import ServiceUnavailableError, UploadError
from tasks.transfer.ftrack import FtrackRefusal
from tasks.transfer.http import HTTP_ERRORS, is_outage
from tasks.transfer.models import SERVER_LOCATION_ID
from tasks.transfer.queries import query

TIMEOUT_S = 5.0


def answers_control(clients: Clients, service: str, outcomes: Iterable[object]) -> bool:
    """Return whether a service that has failed uploads, with these outcomes, answers another call.

    The call is made only for errors that a service may be down for.
    """
    kind = ServiceUnavailableError
    if not any(isinstance(outcome, kind) and outcome.service == service for outcome in outcomes):
        return False
    return _ftrack_answers(clients) if service == "ftrack" else _store_answers(clients)


def _ftrack_answers(clients: Clients) -> bool:
    location = query("id", "Location", f'id is "{SERVER_LOCATION_ID}"')
    try:
        clients.ftrack.call([location], TIMEOUT_S)
    except FtrackRefusal:
        return True
    except UploadError:
        return False
    return True


def _store_answers(clients: Clients) -> bool:
    """Return whether the store has any answer for a call that nobody signed, such as 403."""
    if not (hosts := clients.store.hosts):
        return False
    scheme, host = hosts[-1]
    try:
        response = clients.store.get(
            f"{scheme}://{host}/", timeout=TIMEOUT_S, allow_redirects=False, stream=True
        )
    except HTTP_ERRORS:
        return False
    response.close()
    return not is_outage(response.status_code)
