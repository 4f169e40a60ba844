"""The operations of ftrack's API: one method for each action."""

from __future__ import annotations

import json
import mimetypes
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from . import query
from .caller import Caller
from .encoding import Encoder
from .entities import Entities, Entity, now
from .errors import (
    InvalidRequest,
    NoSuchUpload,
    PermissionDenied,
    StoreRefused,
    ValidationError,
)
from .schemas import TO_MANY
from .seaweed import BUCKET
from .seed import SERVER_LOCATION_ID
from .services import SERVICES
from .signing import presign

Operation = dict[str, Any]
_WRITES = {"create", "update", "delete", "get_upload_metadata"}
_WRITES |= {"complete_multipart_upload", "encode_media", "reset_remote", "delayed_job"}
_WRITES |= {"send_user_invite", "send_review_session_invite"}


@dataclass
class Operations:
    """Runs the operations of one server."""

    entities: Entities
    s3: Any  # boto3 has no types
    signed_endpoint: str
    encoder: Encoder
    #: Open multipart uploads: the component by upload id.
    uploads: dict[str, str] = field(default_factory=dict)

    def run(self, batch: Any, caller: Caller) -> list[Any]:
        """Return the results of *batch*; an error rolls all of it back."""
        if not isinstance(batch, list) or not all(isinstance(item, dict) for item in batch):
            raise InvalidRequest("The request body must be a list of operations")
        self.encoder.finish()
        deletes = any(item.get("action") == "delete" for item in batch)
        before = self._located() if deletes else set()
        with self.entities.transaction():
            answers = [self._one(operation, caller) for operation in batch]
        # The bytes of a component go with it.
        for component_id in before:
            if self.entities.find("Component", component_id) is None:
                self.s3.delete_object(Bucket=BUCKET, Key=component_id)
        return answers

    def _located(self) -> set[str]:
        """Return the components in ftrack.server."""
        rows = self.entities.all("ComponentLocation")
        return {row["component_id"] for row in rows if row["location_id"] == SERVER_LOCATION_ID}

    def _one(self, operation: Operation, caller: Caller) -> Any:
        action = operation.get("action")
        actions: dict[Any, Callable[[Operation, Caller], Any]] = {
            "query_server_information": self._server_information,
            "query_schemas": self._schemas,
            "query": self._query,
            "create": self._create,
            "update": self._update,
            "delete": self._delete,
            "get_upload_metadata": self._sign,
            "complete_multipart_upload": self._complete,
            "encode_media": self._encode,
        }
        if action not in actions and action not in SERVICES:
            raise InvalidRequest(f"Invalid action {action!r}")
        if action in _WRITES and not caller.may_write:
            raise PermissionDenied(
                f"Permission denied to {action} {operation.get('entity_type', 'media')}"
            )
        try:
            if action in SERVICES:
                return SERVICES[action](self.entities, operation, caller)
            return actions[action](operation, caller)
        except KeyError as error:
            raise InvalidRequest(f"Operation {action} needs {error.args[0]!r}") from error

    def _server_information(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        return {
            "version": "4.13.0.sandbox",
            "schema_hash": self.entities.schema_hash,
            "is_timezone_support_enabled": True,
            "default_colors": [],
            "storage_scenario": self._storage_scenario(),
            "is_nested_subtasks_enabled": False,
        }

    def _storage_scenario(self) -> Any:
        """Return what ftrack's wizard for the central storage has set."""
        found = self.entities.find("Setting", "storage_scenario", "STORAGE")
        return json.loads(found["value"]) if found else None

    def _schemas(self, operation: Operation, caller: Caller) -> list[Any]:
        return list(self.entities.schemas.values())

    def _query(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        return query.run(self.entities, operation["expression"])

    def _create(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        kind, data = operation["entity_type"], operation["entity_data"]
        if kind == "AssetVersion":
            # Who publishes, and when: clients leave it out.
            data = {"user_id": caller.user_id, "date": now(), **data}
        entity = self.entities.create(kind, data)
        # Clients ask for what the answer leaves out.
        known = {name: value for name, value in entity.items() if value is not None}
        return {"action": "create", "data": self._with_relations(known, operation)}

    def _update(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        entity = self.entities.update(
            operation["entity_type"], _key(operation), operation["entity_data"]
        )
        return {"action": "update", "data": self._with_relations(entity, operation)}

    def _with_relations(self, entity: Entity, operation: Operation) -> Entity:
        """Return an entity with the relations that the operation has set, as clients need them."""
        kind = entity["__entity_type__"]
        relations: Entity = {}
        for name, value in operation["entity_data"].items():
            if name in TO_MANY and (found := self.entities.related(entity, name)):
                relations[name] = found
            elif isinstance(value, dict) and "$ref" in self.entities.attribute(kind, name):
                relations[name] = {key: value[key] for key in ("__entity_type__", "id")}
        return {**entity, **relations}

    def _delete(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        self.entities.delete(operation["entity_type"], _key(operation))
        return {"action": "delete", "data": True}

    def _sign(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        component_id = _uuid(operation["component_id"])
        component = self.entities.find("Component", component_id)
        name, size = operation.get("file_name"), operation.get("file_size")
        if component is None and (not name or size is None):
            raise ValidationError(
                f"Component {component_id} does not exist, and without it file_name and"
                " file_size are needed"
            )
        if component is not None and not name:
            name = f"{component['name']}{component['file_type'] or ''}"
        headers = {
            "Content-Type": mimetypes.guess_type(str(name))[0] or "application/octet-stream",
            "Content-Disposition": _disposition(str(name)),
        }
        # The JavaScript client sends null for one part.
        if operation.get("parts") is not None:
            return self._sign_parts(component_id, operation, headers, caller)
        if size is not None:
            headers["Content-Length"] = str(size)
        checksum = operation.get("checksum")
        if checksum:
            headers["Content-MD5"] = checksum
        url = presign(
            "PUT", self.signed_endpoint, component_id, caller.url_lifetime_s, headers=headers
        )
        return {"url": url, "headers": headers, "component_id": component_id}

    def _sign_parts(
        self, component_id: str, operation: Operation, headers: dict[str, str], caller: Caller
    ) -> dict[str, Any]:
        count, upload_id = operation["parts"], str(operation.get("upload_id", ""))
        if not isinstance(count, int) or not 1 <= count <= 10_000:
            raise ValidationError(f"parts must be between 1 and 10000, not {count!r}")
        # Unverified: a server signs an open upload again if the call names it.
        if self.uploads.get(upload_id) != component_id:
            upload_id = self.s3.create_multipart_upload(
                Bucket=BUCKET,
                Key=component_id,
                ContentType=headers["Content-Type"],
                ContentDisposition=headers["Content-Disposition"],
            )["UploadId"]
            self.uploads[upload_id] = component_id
        urls = [
            {
                "part_number": number,
                "signed_url": presign(
                    "PUT",
                    self.signed_endpoint,
                    component_id,
                    caller.url_lifetime_s,
                    query={"uploadId": upload_id, "partNumber": str(number)},
                ),
            }
            for number in range(1, count + 1)
        ]
        return {"component_id": component_id, "upload_id": upload_id, "urls": urls}

    def _complete(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        upload_id, component_id = operation["upload_id"], operation["component_id"]
        if self.uploads.get(upload_id) != component_id:
            raise NoSuchUpload(
                "An error occurred (NoSuchUpload) when calling the CompleteMultipartUpload"
                " operation: The specified upload does not exist. The upload ID may be"
                " invalid, or the upload may have been aborted or completed."
            )
        parts = [(part["part_number"], part["e_tag"]) for part in operation["parts"]]
        numbers = [number for number, _ in parts]
        if numbers != sorted(set(numbers)):
            raise StoreRefused(
                "An error occurred (InvalidPartOrder) when calling the"
                " CompleteMultipartUpload operation: The list of parts was not in"
                " ascending order."
            )
        try:
            self.s3.complete_multipart_upload(
                Bucket=BUCKET,
                Key=component_id,
                UploadId=upload_id,
                MultipartUpload={
                    "Parts": [{"PartNumber": number, "ETag": tag} for number, tag in parts]
                },
            )
        except ClientError as error:
            raise StoreRefused(str(error)) from error
        del self.uploads[upload_id]
        return {"action": "complete_multipart_upload", "component_id": component_id}

    def _encode(self, operation: Operation, caller: Caller) -> dict[str, Any]:
        component_id = operation["component_id"]
        source = self.entities.find("Component", component_id)
        if source is None or not self.in_server_location(component_id):
            raise ValidationError(f"Component {component_id} is not in the ftrack.server location")
        job = self.encoder.start(
            source,
            operation.get("version_id"),
            caller.user_id,
            keep_original=operation.get("keep_original", True),
        )
        return {"action": "encode_media", "job_id": job["id"]}

    def in_server_location(self, component_id: str) -> Entity | None:
        return self.entities.location_of(component_id, SERVER_LOCATION_ID)


def _key(operation: Operation) -> tuple[str, ...]:
    key = operation["entity_key"]
    return (key,) if isinstance(key, str) else tuple(str(part) for part in key)


def _uuid(text: Any) -> str:
    try:
        return str(uuid.UUID(str(text)))
    except ValueError:
        raise ValidationError(f"{text!r} is not a valid id") from None


def _disposition(name: str) -> str:
    """Return the header with the file name for browsers; all clients can send it (RFC 6266)."""
    safe = name.replace("\\", "\\\\").replace('"', '\\"')
    plain = "".join(one if " " <= one <= "~" else "_" for one in safe)
    more = "" if plain == safe else f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return f'attachment; filename="{plain}"{more}'
