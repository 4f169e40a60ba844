"""Texts in files, as programs on Linux and on Windows write them; and keys as texts."""

from __future__ import annotations

import codecs

_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
KEY_LENGTH = 44
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_text(content: bytes, errors: str = "strict") -> str:
    r"""Return the text of a file's content, with each line ended by \n.

    The content is UTF-8, with or without the byte order mark that Notepad writes, or UTF-16 with
    one, as PowerShell's ``>`` writes it.

    Args:
        content: the bytes of the file.
        errors: what to do with bytes that are no text, as in ``bytes.decode``.

    Raises:
        UnicodeDecodeError: the content is no such text, and *errors* is strict.
    """
    if content.startswith(codecs.BOM_UTF8):
        content = content[len(codecs.BOM_UTF8) :]  # for utf-8-sig, Python would import a module
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8"
    return content.decode(encoding, errors).replace("\r\n", "\n")


def read_text(path: str) -> str:
    """Return the text of a file.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is not such a text.
    """
    with open(path, "rb") as file:
        return decode_text(file.read())


def is_key(text: str) -> bool:
    """Return whether a text is a key: 32 bytes in URL-safe base64."""
    return len(text) == KEY_LENGTH and text[-1] == "=" and _BASE64.issuperset(text[:-1])
