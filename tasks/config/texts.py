"""Texts in files, as programs on Linux and on Windows write them; keys and names as texts."""

from __future__ import annotations

import codecs

_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
KEY_LENGTH = 44
#: Byte order marks; that of UTF-16 is the beginning of that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: A larger file is not the value of a setting: it may be a render, or never end.
MAX_BYTES = 1 << 20


class NotTextError(ValueError):
    """The content of a file is not text; the message says where, and what to do."""


def decode_text(content: bytes, errors: str = "strict") -> str:
    r"""Return the text of a file's content, with each line ended by \n.

    The content is UTF-8, with or without the byte order mark that Notepad writes, or UTF-16 or
    UTF-32 with one, as PowerShell's ``>`` writes it. Lines end as on any system.

    Args:
        content: the bytes of the file.
        errors: what to do with bytes that are not UTF-8, as in ``bytes.decode``.

    Raises:
        NotTextError: the content is no such text, and *errors* is strict; or it has a byte order
            mark and is not in that encoding.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return _with_line_feeds(content.decode(encoding))
            except UnicodeDecodeError:
                name = encoding.upper()
                raise NotTextError(
                    f"it is not {name} text, as its first bytes say; save it as UTF-8"
                ) from None
    if b"\0" in content:
        raise NotTextError(
            "it has zero bytes, as UTF-16 without a byte order mark; save it as UTF-8"
        )
    if content.startswith(codecs.BOM_UTF8):
        content = content[len(codecs.BOM_UTF8) :]  # for utf-8-sig, Python would import a module
    try:
        return _with_line_feeds(content.decode("utf-8", errors))
    except UnicodeDecodeError:
        raise NotTextError(_place_of_fault(content)) from None


def read_text(path: str) -> str:
    """Return the text of a file.

    Raises:
        OSError: the file cannot be read.
        NotTextError: it is not such a text.
    """
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise NotTextError(f"it has more than {MAX_BYTES >> 20} MiB; is it the right file?")
    return decode_text(content)


def byte_that_is_no_text(line: str) -> int:
    """Return the number, from 1, of the first byte of a line that is not UTF-8; 0 if there is none.

    The line was decoded with ``surrogateescape``.
    """
    try:
        line.encode()  # quick: a line may have 100 MB
    except UnicodeEncodeError as error:
        for place in range(error.start, len(line)):
            if "\udc80" <= line[place] <= "\udcff":
                return len(line[:place].encode("utf-8", "surrogatepass")) + 1
    return 0


def _place_of_fault(content: bytes) -> str:
    # Not the byte itself: it may be one of a password.
    lines = _with_line_feeds(content.decode("utf-8", "surrogateescape")).split("\n")
    place = next(
        f"line {number}, byte {byte_that_is_no_text(line)}"
        for number, line in enumerate(lines, start=1)
        if byte_that_is_no_text(line)
    )
    return f"it is not UTF-8 text ({place}), perhaps of a Windows code page; save it as UTF-8"


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def is_host(name: str) -> bool:
    """Return whether a name can be looked up: no part is empty or too long, or has a space or sign.

    The % is for the zone of an IPv6 address.
    """
    try:
        ascii_name = name.encode("idna").decode()
        return all(one.isalnum() or one in "-._:%" for one in ascii_name)
    except UnicodeError:
        return False


def visible(text: str) -> str:
    r"""Return a text in which what does not print is escaped: \x1b, \n, \u202e, \udcff.

    For texts that a file system, a server or another host has given, before a terminal or a log
    gets them.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def is_key(text: str) -> bool:
    """Return whether a text is a key: 32 bytes in URL-safe base64."""
    return len(text) == KEY_LENGTH and text[-1] == "=" and _BASE64.issuperset(text[:-1])
