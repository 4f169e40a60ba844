"""The sandbox as tests use it: ftrack's entities, the store's objects, the faults."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Any, cast

import requests
from botocore.exceptions import ClientError

from . import seed
from .entities import Entity
from .faults import Fault, Kind, Service
from .seaweed import BUCKET, s3_client

Record = dict[str, Any]


class RefusedError(Exception):
    """The stand-in answered a call of a test with an error; see ``answer``."""

    def __init__(self, answer: Record) -> None:
        super().__init__(f"{answer.get('exception')}: {answer.get('content')}")
        self.answer = answer


class Control:
    """The control paths of the front, and the way around it for calls of a test."""

    def __init__(self, front_url: str, upstream_url: str) -> None:
        self._front_url = front_url
        self._upstream_url = upstream_url
        self._http = requests.Session()
        self._http.trust_env = False  # reading proxies and netrc takes a millisecond a call

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        response = self._http.request(
            method, f"{self._front_url}/sandbox/{path}", json=body, timeout=10
        )
        if response.status_code != 200:
            raise ValueError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json()

    def requests(self, service: Service) -> list[Record]:
        return [entry for entry in self.call("GET", "requests") if entry["service"] == service]

    def api(self, *operations: Record) -> list[Any]:
        """Call ftrack's API around the front: without faults and journal."""
        response = self._http.post(
            f"{self._upstream_url}/api",
            json=list(operations),
            headers={"ftrack-user": seed.API_USER, "ftrack-api-key": seed.API_KEY},
            timeout=60,
        )
        answer = response.json()
        if isinstance(answer, dict):
            raise RefusedError(answer)
        return cast("list[Any]", answer)


class FtrackClient:
    """The entities of the stand-in, and the calls that it received."""

    project_id = seed.PROJECT_ID
    shot_id = seed.SHOT_ID
    task_id = seed.TASK_ID
    asset_id = seed.ASSET_ID
    version_id = seed.VERSION_ID
    user_id = seed.USER_ID
    server_location_id = seed.SERVER_LOCATION_ID

    def __init__(self, control: Control) -> None:
        self._control = control

    def api(self, *operations: Record) -> list[Any]:
        """Run operations in one transaction, without faults and journal."""
        return self._control.api(*operations)

    def create(self, entity_type: str, /, **data: Any) -> Entity:
        operation = {"action": "create", "entity_type": entity_type, "entity_data": data}
        return cast(Entity, self.api(operation)[0]["data"])

    def update(self, entity_type: str, entity_id: str, **data: Any) -> Entity:
        operation = {
            "action": "update",
            "entity_type": entity_type,
            "entity_key": [entity_id],
            "entity_data": data,
        }
        return cast(Entity, self.api(operation)[0]["data"])

    def delete(self, entity_type: str, entity_id: str) -> None:
        self.api({"action": "delete", "entity_type": entity_type, "entity_key": [entity_id]})

    def add_component(self, name: str = "main.exr", size: int = 0, **data: Any) -> str:
        """Create a component of the version; return its id. "main.exr" is main, of type .exr."""
        path = PurePath(name)
        defaults = {"name": path.stem, "file_type": path.suffix, "version_id": self.version_id}
        component = self.create("FileComponent", **{**defaults, "size": size, **data})
        return str(component["id"])

    def entities(self, entity_type: str) -> list[Entity]:
        """Return all entities of a type and its subtypes, with all their attributes."""
        return cast("list[Entity]", self._control.call("GET", f"entities/{entity_type}"))

    def get(self, entity_type: str, entity_id: str) -> Entity | None:
        found = (e for e in self.entities(entity_type) if e.get("id") == entity_id)
        return next(found, None)

    def locations(self, component_id: str) -> list[Entity]:
        """Return the ComponentLocations of a component."""
        everywhere = self.entities("ComponentLocation")
        return [found for found in everywhere if found["component_id"] == component_id]

    def calls(self, action: str | None = None) -> list[Record]:
        """Return each POST to the API since the last reset.

        Each has ``actions``, ``operations``, ``status`` (None: without a response), ``faults``,
        ``headers``, ``started_at``, ``ended_at``; see `journal.Entry`.
        """
        return [
            call
            for call in self._control.requests("ftrack")
            if call["method"] == "POST" and (action is None or action in call["actions"])
        ]

    def count_calls(self, action: str | None = None) -> int:
        return len(self.calls(action))


class StoreClient:
    """The objects in the store, and the requests that came through the front."""

    def __init__(self, control: Control, endpoint: str) -> None:
        self._control = control
        self._s3 = s3_client(endpoint)

    def close(self) -> None:
        self._s3.close()

    def read(self, component_id: str) -> bytes:
        return bytes(self._s3.get_object(Bucket=BUCKET, Key=component_id)["Body"].read())

    def write(self, component_id: str, content: bytes) -> None:
        """Store an object in one PUT, as another client would."""
        self._s3.put_object(Bucket=BUCKET, Key=component_id, Body=content)

    def gets(self, component_id: str | None = None) -> list[Record]:
        return [
            request
            for request in self.requests()
            if request["method"] == "GET" and component_id in (None, request["key"])
        ]

    def md5(self, component_id: str) -> str:
        """Return the MD5 of the stored bytes, in hex."""
        digest = hashlib.md5(usedforsecurity=False)
        body = self._s3.get_object(Bucket=BUCKET, Key=component_id)["Body"]
        for block in body.iter_chunks(1024 * 1024):
            digest.update(block)
        return digest.hexdigest()

    def size(self, component_id: str) -> int:
        return int(self._s3.head_object(Bucket=BUCKET, Key=component_id)["ContentLength"])

    def exists(self, component_id: str) -> bool:
        try:
            self.size(component_id)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                return False
            raise
        return True

    def delete(self, component_id: str) -> None:
        self._s3.delete_object(Bucket=BUCKET, Key=component_id)

    def open_uploads(self, component_id: str) -> list[Record]:
        """Return the multipart uploads that are neither complete nor aborted."""
        answer = self._s3.list_multipart_uploads(Bucket=BUCKET, Prefix=component_id)
        return list(answer.get("Uploads", []))

    def requests(self) -> list[Record]:
        """Return each request to the store since the last reset.

        Each has ``method``, ``key``, ``part_number``, ``status``, ``headers``, ``body_bytes``,
        ``faults``, ``started_at``, ``ended_at``; see `journal.Entry`.
        """
        return self._control.requests("store")

    def puts(self, component_id: str | None = None) -> list[Record]:
        return [
            request
            for request in self.requests()
            if request["method"] == "PUT" and component_id in (None, request["key"])
        ]


class FaultsClient:
    """Adds and removes faults; see `faults.Fault` for their conditions and details."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def add(self, service: Service, kind: Kind, value: Any = None, **conditions: Any) -> int:
        """Add a fault, such as ``add("store", "status", 503, times=2, method="PUT")``."""
        fault = Fault(service, kind, value, **conditions)
        return int(self._control.call("POST", "faults", fault.to_json())["id"])

    def struck(self, number: int) -> int:
        """Return how often a fault has struck so far."""
        return next(int(f["struck"]) for f in self.list() if f["id"] == number)

    def list(self) -> list[Record]:
        return cast("list[Record]", self._control.call("GET", "faults"))

    def remove(self, number: int) -> None:
        self._control.call("DELETE", f"faults/{number}")

    def clear(self) -> None:
        self._control.call("DELETE", "faults")
