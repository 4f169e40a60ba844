"""The stand-in for an ftrack server: ``python -m tests.sandbox.ftrack CONFIG``.

It keeps ftrack's rules and knows nothing of faults: those are played by the front
(`front.py`) that every client passes on its way here.
"""

from __future__ import annotations

import base64
import hmac
import json
import sys
import threading
import traceback
from html import escape
from pathlib import Path
from typing import Any

import flask
import waitress
from botocore.exceptions import ClientError

from . import seed
from .caller import Caller
from .config import LIFETIME_HEADER, FtrackConfig
from .encoding import Encoder
from .entities import Entities
from .errors import ApiError, InvalidCredentials, InvalidRequest
from .operations import Operations
from .schemas import load_schemas
from .seaweed import BUCKET, s3_client
from .signing import presign

_KEYS = {
    seed.API_USER: (seed.API_KEY, seed.OTHER_API_KEY),
    seed.GUEST_USER: (seed.GUEST_KEY,),
}


#: A PNG of one pixel.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def make_app(config: FtrackConfig) -> flask.Flask:
    """Return the web application, which keeps everything in memory."""

    def url_of(component_id: str) -> str:
        return presign("GET", config.signed_endpoint, component_id, config.url_lifetime_s)

    entities = Entities(load_schemas(Path(config.schemas) if config.schemas else None), url_of)
    seed.seed(entities)
    s3 = s3_client(config.store_endpoint)

    def delete_object(component_id: str) -> None:
        s3.delete_object(Bucket=BUCKET, Key=component_id)

    encoder = Encoder(entities, config.encode_s, delete_object)
    operations = Operations(entities, s3, config.signed_endpoint, encoder)
    lock = threading.Lock()
    app = flask.Flask(__name__)

    def caller(user: str, key: str) -> Caller:
        known_keys = _KEYS.get(user, ())
        if not any(hmac.compare_digest(known.encode(), key.encode()) for known in known_keys):
            raise InvalidCredentials("The supplied API key is not valid.")
        lifetime_s = flask.request.headers.get(LIFETIME_HEADER, config.url_lifetime_s, float)
        may_write = user == seed.API_USER
        return Caller(seed.USER_ID, may_write, lifetime_s, flask.request.host_url)

    @app.post("/api")
    def api() -> flask.Response:
        headers = flask.request.headers
        try:
            who = caller(headers.get("ftrack-user", ""), headers.get("ftrack-api-key", ""))
            try:
                batch = json.loads(flask.request.get_data())
            except ValueError as error:
                raise InvalidRequest(f"The request body is not JSON: {error}") from error
            with lock:
                return _answer(operations.run(batch, who))
        except ApiError as error:
            return _answer(error.to_json(), error.status if _is_strict() else 200)
        except Exception as error:  # noqa: BLE001 - as in a server, an unexpected error goes to the client
            traceback.print_exc()
            unforeseen = ApiError(f"{type(error).__name__}: {error}")
            return _answer(unforeseen.to_json(), 500 if _is_strict() else 200)

    @app.get("/component/get")
    def component_get() -> flask.Response:
        component_id = _authenticated_component()
        lifetime_s = flask.request.headers.get(LIFETIME_HEADER, config.url_lifetime_s, float)
        url = presign("GET", config.signed_endpoint, component_id, lifetime_s)
        return flask.Response(status=302, headers={"Location": url})

    @app.get("/component/thumbnail")
    def component_thumbnail() -> flask.Response:
        # Unlike ftrack, it returns the picture in its own size.
        return component_get()

    @app.get("/img/thumbnail2.png")
    def no_thumbnail() -> flask.Response:
        # What clients show where there is no picture.
        return flask.Response(_PIXEL, mimetype="image/png")

    @app.get("/component/remove")
    def component_remove() -> flask.Response:
        component_id = _authenticated_component()
        delete_object(component_id)
        return flask.Response(status=200)

    def _authenticated_component() -> str:
        arguments = flask.request.args
        try:
            caller(arguments.get("username", ""), arguments.get("apiKey", ""))
        except InvalidCredentials:
            flask.abort(403)
        component_id = arguments.get("id", "")
        with lock:
            is_located = operations.in_server_location(component_id) is not None
        # ftrack's own accessor reads and removes bytes before there is a location.
        if not is_located and not _is_stored(operations.s3, component_id):
            flask.abort(404)
        return component_id

    @app.get("/widget/<name>")
    def widget(name: str) -> flask.Response:
        return flask.Response(f"<title>{escape(name)}</title>")

    @app.after_request
    def allow_other_origins(response: flask.Response) -> flask.Response:
        # As ftrack does for clients in pages of other sites (ftrack-javascript runs in browsers).
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Access-Control-Allow-Headers"] = "*"
        return response

    @app.get("/sandbox/entities/<entity_type>")
    def dump(entity_type: str) -> flask.Response:
        with lock:
            encoder.finish()
            # Tests count what farmhaul has made.
            found = entities.all(entity_type)
            return _answer([one for one in found if one.get("id") not in encoder.extras])

    @app.post("/sandbox/reset")
    def reset() -> flask.Response:
        with lock:
            entities.clear()
            operations.uploads.clear()
            encoder.clear()
            seed.seed(entities)
        return _answer({})

    return app


def _is_stored(s3: Any, component_id: str) -> bool:
    try:
        s3.head_object(Bucket=BUCKET, Key=component_id)
    except ClientError:
        return False
    return True


def _answer(value: Any, status: int = 200) -> flask.Response:
    return flask.Response(json.dumps(value), status, mimetype="application/json")


def _is_strict() -> bool:
    headers = flask.request.headers
    return headers.get("ftrack-strict-api") == "true" or "strict:1" in headers.get(
        "Ftrack-Api-Options", ""
    )


def main() -> None:
    config = FtrackConfig.load(sys.argv[1])
    waitress.serve(
        make_app(config),
        host="127.0.0.1",
        port=config.port,
        threads=config.threads,
        # Idle keep-alive connections of the front are closed late, so that the front never
        # uses one that is just being closed.
        channel_timeout=3600,
        # The front opens a connection for each client; waitress' default is 100.
        connection_limit=2000,
        asyncore_use_poll=True,
    )


if __name__ == "__main__":
    main()
