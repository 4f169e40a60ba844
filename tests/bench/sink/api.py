"""An ftrack API that accepts everything: ``python -m tests.bench.sink.api PORT STORE_URL``.

It knows as much as the official Python client needs to start and to upload, and keeps the
components and locations that were created, by id.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.sandbox import seed
from tests.sandbox.entities import Entities
from tests.sandbox.schemas import load_schemas

from .server import Connection, Request, Server

Operation = dict[str, Any]
Entity = dict[str, Any]

_TYPE = re.compile(r"(?:from\s+|^\s*)(\w+)\s*(?:where\b|$)")
_ID = re.compile(r'"?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"?')
#: As long as the query of a URL that S3 signs, and valid for as long as the sink runs.
_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIABENCHBENCHBENCH0%2F20261124%2Feu-west-1"
    f"%2Fs3%2Faws4_request&X-Amz-Date={time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    "&X-Amz-Expires=86400&X-Amz-SignedHeaders="
    f"content-disposition%3Bcontent-md5%3Bcontent-type%3Bhost&X-Amz-Signature={'5e' * 32}"
)


class Api:
    """The operations, and the entities that clients may query."""

    def __init__(self, store_url: str) -> None:
        self._store_url = store_url
        self._schemas = load_schemas()
        self._schemas_text = json.dumps(self._schemas)
        seeded = Entities(self._schemas)
        seed.seed(seeded)
        self._seeded = {
            name: {entity["id"]: entity for entity in seeded.all(name)}
            for name in ("Location", "User", "AssetVersion")
        }
        self._lock = threading.Lock()
        self._actions: dict[str, Callable[[Operation], Any]] = {
            "query_server_information": lambda _: {"version": "4.13.0.bench"},
            "query_schemas": lambda _: self._schemas,
            "query": self._query,
            "create": self._create,
            "update": self._update,
            "get_upload_metadata": self._sign,
            "complete_multipart_upload": lambda operation: {
                "component_id": operation["component_id"]
            },
            "encode_media": lambda _: {"job_id": "bench"},
        }
        self.reset()

    def reset(self) -> None:
        self._tables: dict[str, dict[str, Entity]] = {"Component": {}, "ComponentLocation": {}}
        self._members: dict[str, list[str]] = {}
        self._calls = 0
        self._first_call = 0.0
        self._operations: Counter[str] = Counter()
        self._located = {"first": 0.0, "last": 0.0}

    def stats(self) -> dict[str, Any]:
        return {
            "calls": self._calls,
            "first_call": self._first_call,
            "operations": dict(self._operations),
            "located": len(self._tables["ComponentLocation"]),
            "first_located": self._located["first"],
            "last_located": self._located["last"],
        }

    def handle(self, request: Request, connection: Connection) -> None:
        if request.method == "GET":  # /component/get?id=…
            self._calls += 1
            [component_id] = _ID.findall(request.target)
            connection.redirect(f"{self._store_url}/ftrack/{component_id}?{_QUERY}")
            return
        batch = json.loads(connection.read(request.length))
        with self._lock:
            self._calls += 1
            self._first_call = self._first_call or time.monotonic()
            results = [self._run(operation) for operation in batch]
        connection.answer(json.dumps(results).encode())

    def _run(self, operation: Operation) -> Any:
        action = operation["action"]
        self._operations[action] += 1
        return self._actions[action](operation)

    def _query(self, operation: Operation) -> dict[str, Any]:
        expression = operation["expression"]
        match = _TYPE.search(expression)
        name = match[1] if match else ""
        table = self._seeded.get(name) or self._tables.get(re.sub("^(File|Sequence)", "", name), {})
        ids = _ID.findall(expression)
        if "container_id" in expression:
            ids = self._members.get(ids[0], [])
        found = (
            [table[entity_id] for entity_id in ids if entity_id in table]
            if ids
            else list(table.values())
        )
        if name in {"FileComponent", "SequenceComponent"}:
            found = [entity for entity in found if entity["__entity_type__"] == name]
        if name == "Location" and (names := re.findall(r'name is "?([\w.]+)"?', expression)):
            found = [entity for entity in table.values() if entity["name"] in names]
        return {"action": "query", "data": found, "metadata": {"next": {"offset": None}}}

    def _create(self, operation: Operation) -> dict[str, Any]:
        name, data = operation["entity_type"], operation["entity_data"]
        entity = {**data, "__entity_type__": name}
        if name == "ComponentLocation":
            # By component, as clients query. The official client refers to the component.
            component_id = data.get("component_id") or data["component"]["id"]
            entity["component_id"] = component_id
            self._tables[name][component_id] = entity
            now = time.monotonic()
            self._located = {"first": self._located["first"] or now, "last": now}
        else:
            self._tables["Component"][data["id"]] = entity
            if container_id := data.get("container_id"):
                self._members.setdefault(container_id, []).append(data["id"])
        return {"action": "create", "data": entity}

    def _update(self, operation: Operation) -> dict[str, Any]:
        # The official client looks for the id in what it gets.
        key = operation.get("entity_key") or []
        named = {"id": key[0]} if key else {}
        return {"action": "update", "data": {**operation.get("entity_data", {}), **named}}

    def _sign(self, operation: Operation) -> dict[str, Any]:
        component_id = operation["component_id"]
        url = f"{self._store_url}/ftrack/{component_id}?{_QUERY}"
        if "parts" in operation:
            urls = [
                {"part_number": n, "signed_url": f"{url}&partNumber={n}&uploadId=bench"}
                for n in range(1, operation["parts"] + 1)
            ]
            return {"component_id": component_id, "upload_id": f"u-{component_id}", "urls": urls}
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{operation["file_name"]}"',
        }
        if operation.get("checksum"):
            headers["Content-MD5"] = operation["checksum"]
        return {"url": url, "headers": headers, "component_id": component_id}


def main() -> None:
    api = Api(sys.argv[2])
    Server(api.handle, api.stats, api.reset).serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
