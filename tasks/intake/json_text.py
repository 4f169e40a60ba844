"""JSON for a hook that has a few values to write, and starts without ``json``.

``json`` imports ``re``, and both together take two thirds as long as it takes to start Python.
"""

from __future__ import annotations

import sys

_CONSTANTS = {None: "null", True: "true", False: "false"}


def json_text(value: object, comma: str = ",", colon: str = ":") -> str:
    """Return the text that ``json.dumps`` returns for a value: ASCII, on one line.

    Args:
        value: None, a bool, a number, a text, or a list or dict of such values.
        comma: what stands between two items.
        colon: what stands between a key and its value.

    Raises:
        TypeError: the value has something else in it.
        ValueError: a number is not finite.
    """
    # Whoever has read JSON has paid for it, and json is faster.
    if json := sys.modules.get("json"):
        return str(json.dumps(value, separators=(comma, colon), allow_nan=False))
    return _text(value, comma, colon)


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable() and "\\" not in text and '"' not in text:
        return f'"{text}"'  # most are so, and the import of _json takes longer than all of them
    try:
        # A builtin module of CPython, which ``json`` itself uses for this.
        from _json import encode_basestring_ascii
    except ImportError:
        from json.encoder import encode_basestring_ascii
    return str(encode_basestring_ascii(text))


def _text(value: object, comma: str, colon: str) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if value is None or value is True or value is False:
        return _CONSTANTS[value]
    if isinstance(value, int):
        return repr(value)
    if isinstance(value, float):
        if value - value:  # not a number, or infinite
            raise ValueError("JSON has only finite numbers")
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{comma.join([_text(item, comma, colon) for item in value])}]"
    if isinstance(value, dict):
        pairs = [f"{_quoted(key)}{colon}{_text(value[key], comma, colon)}" for key in value]
        return f"{{{comma.join(pairs)}}}"
    raise TypeError(f"{type(value).__name__} is no value of JSON")
