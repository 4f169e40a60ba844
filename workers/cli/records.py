"""Open the records, and find uploads by id; several commands share this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.config.settings import Settings
from tasks.intake.deliver import host_name, user_name
from tasks.intake.errors import BadInputError
from tasks.records.fail_fast import ANSWER_S, CONNECT_S, fail_fast_redis
from tasks.records.scripts import Scripts, open_scripts
from tasks.records.status import Status
from tasks.records.upload_state import UploadState
from workers.wording import not_taken_in

if TYPE_CHECKING:
    from celery import Celery


def open_records() -> Scripts:
    """Open the records of the farm that the environment names."""
    settings = Settings.from_environment()
    return open_scripts(settings, fail_fast_redis(settings))


def open_app() -> Celery:
    """Return the application, to send tasks: it gives Redis no more time than the records do."""
    from workers.app import app

    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "max_retries": 0,
    }
    return app


def person() -> str:
    """Return who runs this command, and where, for the record."""
    return " on ".join(filter(None, (user_name(), host_name())))


def find_known(status: Status, upload_ids: Sequence[str]) -> list[UploadState]:
    """Return the state of each upload, in the order of the ids.

    Raises:
        BadInputError: an upload has no record.
    """
    found: list[UploadState] = []
    for upload_id, upload in zip(upload_ids, status.find(upload_ids), strict=True):
        if upload is None:
            raise BadInputError(
                f"no upload {upload_id} is known here{not_taken_in(status)}; "
                "farmhaul status --all lists the known ones"
            )
        found.append(upload)
    return found
