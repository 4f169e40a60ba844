"""Names of files as components in ftrack, and back: docs/naming.md has the rule with examples.

For a sequence, *head* is what stands before the frame number and *tail* what follows it. A single
file has its whole path as head, and None as tail.
"""

from __future__ import annotations

#: A component with another file type has it in its name, because one render is often saved in
#: several of them.
USUAL_TYPE = ".exr"

#: File types of compressed files. The type before them says what the file is: .vdb.gz, .bgeo.sc.
COMPRESSED = frozenset(("bgz", "bz2", "gz", "lz4", "lzma", "sc", "xz", "zst"))

#: What stands between the words of a name.
SEPARATORS = "._- "
_TO_SPACES = str.maketrans(SEPARATORS, " " * len(SEPARATORS))

#: Folders that renderers make for passes, layers and eyes, in words. Files in them have the same
#: names side by side.
PASSES = frozenset(
    (  # noqa: SIM905 a list has a line for each
        "albedo alpha ao beauty bg bty caustics chars coat combined depth direct emission emit fg"
        " fog gi glossy id indirect l left mask masks mist mv n normal normals objectid occlusion"
        " opacity p position pos puz r refl refr rgb rgba right sheen spec sss translucency uv vec"
        " vector vectors velocity volume wpp z zdepth"
    ).split()
)
#: Folders that begin with one of these are such folders too: CryptoMatte, diffuse_direct.
FAMILIES = (
    "ambient",
    "background",
    "crypto",
    "diffuse",
    "foreground",
    "matte",
    "motion",
    "reflection",
    "refraction",
    "shadow",
    "specular",
    "subsurface",
    "transmission",
)

#: The metadata key for the name of a file, if its component's name and type are not enough.
#: For a sequence, the value has a printf mark for the frame number, and %% for each other %.
PATTERN = "farmhaul_pattern"

#: Characters that cannot be in a header or a log line (control characters, line breaks), and lone
#: surrogates, which stand for bytes that are not UTF-8.
UNFIT = "[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
MAX_NAME_BYTES = 255  # NAME_MAX of Linux


def file_type(name: str) -> str:
    """Return the extension of a file with its dots, as in ftrack; empty if there is none.

    A number is no extension: in "sim.0001" it is that of a frame. For the frames of a sequence,
    *name* may be any number with the tail.
    """
    before, _, last = name.rpartition(".")
    if not before or not last.isalnum() or last.isdecimal():
        return ""
    first, _, inner = before.rpartition(".")
    if last.lower() in COMPRESSED and first and inner.isascii() and inner.isalpha():
        return f".{inner}.{last}"
    return f".{last}"


def default_name(head: str, tail: str | None = None) -> str:
    """Return the name of a component whose user gave none; empty if the path has no word for it."""
    folders, _, name = head.rpartition("/")
    folder = folders.rpartition("/")[2]
    kind = type_of(head, tail)
    if tail is None:
        name = name[: len(name) - len(kind)]
    else:
        words = (name.rstrip(SEPARATORS), tail[: len(tail) - len(kind)].strip(SEPARATORS))
        name = "_".join(filter(None, words)) or folder
    if not name.strip():
        return ""
    if _is_pass(folder) and _words(folder) not in _words(name):
        name = f"{folder}_{name}"
    return name + _suffix(kind)


def pattern_metadata(
    name: str,
    head: str,
    tail: str | None = None,
    padding: int = 0,
    *,
    is_own: bool = False,
    always: bool = False,
) -> dict[str, str]:
    """Return the metadata by which ``fetch`` gives a file back under the name that it had.

    It is empty if the component's name and file type are enough.

    Args:
        name: the component's name.
        head: the path of a file, or the part of it before the frame number.
        tail: what follows the frame number; None for a single file.
        padding: the digits of the frame number; 0 if it is not padded.
        is_own: the user chose the name for this component, so its files get it too.
        always: never empty, because the component may have metadata of other files.
    """
    kind = type_of(head, tail)
    own = head.rpartition("/")[2]
    if tail is None:
        pattern = name + kind if is_own else own
        is_enough = pattern == file_name(name, kind)
    else:
        if is_own:
            own = name + (own[len(own.rstrip(SEPARATORS)) :] or ".")
        mark = f"%0{padding}d" if padding else "%d"
        pattern = own.replace("%", "%%") + mark + tail.replace("%", "%%")
        is_enough = (own, tail) == (f"{_stem(name, kind)}.", kind)
    return {} if is_enough and not always else {PATTERN: pattern}


def fetched_name(name: str, kind: str, pattern: str = "", number: str | None = None) -> str:
    """Return the name under which ``fetch`` writes a file, if that is fit to be one.

    Args:
        name: the name of the component, or of the sequence that the file is a frame of.
        kind: the file type with its dots.
        pattern: the metadata PATTERN; one that is no name of a file does not count.
        number: the padded number of a frame; None for a single file.
    """
    known = "" if name_fault(pattern) else pattern
    if number is None:
        return file_name(name, kind, known)
    return frame_name(name, number, kind, known)


def name_fault(name: str) -> str:
    """Return why ``fetch`` must not write a file under this name; empty if it may.

    Anybody may have chosen it. A slash leads elsewhere. A dot at the start is that of a hidden
    file, such as a person's .profile or an unfinished download.
    """
    if not name:
        return "is empty"
    if name[0] == ".":
        return "begins with a dot"
    if not {"/", "\\"}.isdisjoint(name):
        return "has a slash in it"
    if is_unfit(name):
        return "has characters that cannot be stored"
    return f"has more than {MAX_NAME_BYTES} bytes" if len(name.encode()) > MAX_NAME_BYTES else ""


def is_unfit(text: str) -> bool:
    """Return whether a text has characters that cannot be stored."""
    if text.isprintable():
        return False
    import re

    return re.search(UNFIT, text) is not None


def file_name(name: str, kind: str, pattern: str = "") -> str:
    """Return the name of a component's file; ``pattern`` is its metadata, if it has any.

    A pattern with another file type is of a file that somebody has replaced.
    """
    return pattern if pattern and pattern.endswith(kind) else _stem(name, kind) + kind


def frame_name(name: str, number: str, kind: str, pattern: str = "") -> str:
    """Return the name of a frame's file; ``name`` and ``pattern`` are those of its sequence.

    ``number`` is padded already.
    """
    before, percent, rest = pattern.replace("%%", "\0").partition("%")
    digits, letter, after = rest.partition("d")
    is_mark = percent and letter and (not digits or digits.isdecimal()) and "%" not in after
    before, after = (text.replace("\0", "%") for text in (before, after))
    if is_mark and after.endswith(kind):
        return before + number + after
    return f"{_stem(name, kind)}.{number}{kind}"


def type_of(head: str, tail: str | None) -> str:
    """Return the file type of a file or a sequence with its dots; empty if there is none."""
    return file_type(head.rpartition("/")[2] if tail is None else f"0{tail}")


def _suffix(kind: str) -> str:
    """Return how a component's name ends if its file has this type."""
    return "" if kind.lower() == USUAL_TYPE else kind.replace(".", "_")


def _stem(name: str, kind: str) -> str:
    """Return a component's name without the file type that ``default_name`` has put into it."""
    suffix = _suffix(kind)
    is_in_it = name.endswith(suffix) and name != suffix
    return name[: len(name) - len(suffix)] if is_in_it else name


def _is_pass(folder: str) -> bool:
    words = _words(folder).strip()
    return words in PASSES or words.startswith(FAMILIES)


def _words(text: str) -> str:
    """Return the words of a name in lower case, with a space before and after each."""
    return f" {' '.join(text.lower().translate(_TO_SPACES).split())} "
