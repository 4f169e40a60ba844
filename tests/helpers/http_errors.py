"""The errors that requests and urllib3 raise."""

from __future__ import annotations

from collections.abc import Iterator

import requests
import urllib3


def all_below(cls: type[Exception]) -> Iterator[type[Exception]]:
    for child in cls.__subclasses__():
        yield child
        yield from all_below(child)


def errors_of_http_libraries() -> list[type[Exception]]:
    found = {requests.RequestException, urllib3.exceptions.HTTPError}
    for root in tuple(found):
        found |= {one for one in all_below(root) if not issubclass(one, Warning)}
    return sorted(found, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
