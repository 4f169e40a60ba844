"""Responses that the front makes up, and what it reads from requests."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any

from .faults import Fault
from .wire import Head, answer


def canned(fault: Fault) -> bytes:
    """Return the response of a ``status``, ``error`` or ``junk`` fault."""
    status, content_type = 200, "application/json"
    if fault.kind == "error":
        body = json.dumps(
            {
                "exception": fault.value or "ServerError",
                "content": fault.content,
                "error_code": fault.error_code,
            }
        )
    elif fault.kind == "junk":
        body = '[{"action": "create", "data": {"id": "3a37' if fault.body is None else fault.body
    else:
        status = int(fault.value or 503)
        body = fault.body or ""
        if fault.service == "store" and fault.body is None:
            code = "SlowDown" if status == 503 else "SandboxFault"
            return s3_error(status, code, fault.content, fault.headers)
        content_type = "text/html" if body.lstrip().startswith("<") else "text/plain"
    headers = {"Content-Type": content_type, **fault.headers}
    return answer(status, _phrase(status), headers, body.encode())


def stored(request: Head) -> bytes:
    """Return the response to a PUT whose body was discarded."""
    digest = base64.b64decode(request.headers.get("content-md5", "")).hex()
    return answer(200, "OK", {"ETag": f'"{digest}"'} if digest else {}, b"")


def s3_error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> bytes:
    """Return an error in the form of S3."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    all_headers = {"Content-Type": "application/xml", **(headers or {})}
    return answer(status, _phrase(status), all_headers, body.encode())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Sandbox"


def operations_of(body: bytes) -> list[dict[str, Any]] | None:
    """Return the operations in the body of a call; None if it holds no list of them."""
    try:
        batch = json.loads(body)
    except ValueError:
        return None
    if isinstance(batch, list) and all(isinstance(item, dict) for item in batch):
        return batch
    return None


def body_length(reply: Head, request: Head) -> int:
    """Return how many bytes follow the head of a response."""
    if request.start[0] == "HEAD" or reply.start[1] in ("204", "304"):
        return 0
    return reply.length
