"""ftrack's errors: the object it answers in place of a list of results."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An operation was refused; *status* is used for clients that ask for strict answers."""

    exception = "ServerError"
    status = 500
    error_code: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "exception": self.exception,
            "content": str(self),
            "error_code": self.error_code,
        }


class InvalidCredentials(ApiError):
    exception = "InvalidCredentialsError"
    status = 401
    error_code = "api_credentials_invalid"


class PermissionDenied(ApiError):
    exception = "PermissionError"
    status = 403
    error_code = "permission_denied"


class ValidationError(ApiError):
    exception = "ValidationError"
    status = 422


class InvalidRequest(ApiError):
    exception = "InvalidRequestError"
    status = 422


class ParseError(ApiError):
    exception = "ParseError"
    status = 422


class IntegrityError(ApiError):
    exception = "IntegrityError"
    status = 409


class NoSuchUpload(ApiError):
    exception = "NoSuchUpload"
    status = 404


class StoreRefused(ApiError):
    """The store said no to something that ftrack asked of it."""

    exception = "ClientError"
    status = 400
