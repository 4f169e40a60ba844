"""A loop of ``requests``: what a careful TD would script, one file after the other.

MD5, ``get_upload_metadata``, PUT, and one call that creates component and location; both
connections stay open.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.rivals.job import Job, run
from tests.sandbox.seed import SERVER_LOCATION_ID


def prepare(job: Job) -> Callable[[], None]:
    import requests

    api, store = requests.Session(), requests.Session()
    api.headers.update({"ftrack-user": job.api_user, "ftrack-api-key": job.api_key})

    def call(*operations: dict[str, Any]) -> Any:
        answer = api.post(f"{job.server_url}/api", json=operations)
        answer.raise_for_status()
        return answer.json()

    def send(name: str, path: str) -> None:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "md5").digest()
            size, component_id = file.tell(), str(uuid.uuid4())
            [signed] = call(
                {
                    "action": "get_upload_metadata",
                    "component_id": component_id,
                    "file_name": Path(path).name,
                    "file_size": size,
                    "checksum": base64.b64encode(digest).decode(),
                }
            )
            file.seek(0)
            store.put(signed["url"], data=file, headers=signed["headers"]).raise_for_status()
        call(
            _create(
                "FileComponent", id=component_id, name=name, size=size, version_id=job.version_id
            ),
            _create(
                "ComponentLocation",
                id=str(uuid.uuid4()),
                component_id=component_id,
                location_id=SERVER_LOCATION_ID,
                resource_identifier=component_id,
            ),
        )

    def upload() -> None:
        for name, path in job.named:
            send(name, path)

    return upload


def _create(entity_type: str, **data: Any) -> dict[str, Any]:
    return {"action": "create", "entity_type": entity_type, "entity_data": data}


if __name__ == "__main__":
    run(prepare)
