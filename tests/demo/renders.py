"""The renders of the demo: real OpenEXR frames, a PNG and a movie, by the standard library.

The frames are scan-line OpenEXR with half floats and without compression
(https://openexr.com/en/latest/OpenEXRFileLayout.html), the movie is YUV4MPEG2 (.y4m), raw
4:2:0 video that mpv, VLC and ffmpeg play: a movie's size without a codec.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

FRAMES = range(1001, 1009)
FRAME_WIDTH, FRAME_HEIGHT = 640, 360
MOVIE_WIDTH, MOVIE_HEIGHT = 1280, 720
#: About 105 MB: a file above 64 MiB is sent in parts.
MOVIE_FRAMES = 76
#: The ramps in the pictures repeat after so many pixels.
PERIOD = 256


@dataclass(frozen=True, slots=True)
class Renders:
    """The files of a publish."""

    folder: Path
    frames: list[Path]
    sheet: Path
    movie: Path

    @property
    def all(self) -> list[Path]:
        return [*self.frames, self.sheet, self.movie]


def render(folder: Path) -> Renders:
    """Write the files; their bytes are the same each time."""
    folder.mkdir(parents=True)
    frames = [folder / f"sh010_beauty_v003.{number}.exr" for number in FRAMES]
    for number, path in enumerate(frames):
        path.write_bytes(exr(FRAME_WIDTH, FRAME_HEIGHT, moved_by=number * 8))
    # People choose such names; they must survive URLs and headers.
    sheet = folder / 'Übersicht sh010 "final" 100%.png'
    sheet.write_bytes(png(FRAME_WIDTH, FRAME_HEIGHT))
    movie = folder / "sh010_beauty_v003.y4m"
    write_movie(movie, MOVIE_WIDTH, MOVIE_HEIGHT, MOVIE_FRAMES)
    return Renders(folder, frames, sheet, movie)


def exr(width: int, height: int, moved_by: int) -> bytes:
    """Return an OpenEXR image: ramps in blue, green and red, moved to the left."""
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    half = 1  # the pixel type; then: not linear, sampled at each pixel
    channels = b"".join(
        name + b"\0" + struct.pack("<iB3x2i", half, 0, 1, 1) for name in (b"B", b"G", b"R")
    )
    attributes = (
        (b"channels", b"chlist", channels + b"\0"),
        (b"compression", b"compression", b"\0"),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
        (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        (b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    )
    header = struct.pack("<2i", 20000630, 2)
    for name, kind, value in attributes:
        header += name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value
    header += b"\0"

    ramp = struct.pack(f"<{PERIOD}e", *(step / PERIOD for step in range(PERIOD)))
    ramp *= width // PERIOD + 2
    line_bytes = 8 + 3 * 2 * width
    first = len(header) + 8 * height
    table = struct.pack(f"<{height}Q", *range(first, first + height * line_bytes, line_bytes))
    lines = []
    for y in range(height):
        starts = (2 * ((y * speed + moved_by) % PERIOD) for speed in (1, 2, 3))
        pixels = b"".join(ramp[start : start + 2 * width] for start in starts)
        lines.append(struct.pack("<2i", y, len(pixels)) + pixels)
    return header + table + b"".join(lines)


def png(width: int, height: int) -> bytes:
    """Return a grey PNG: a ramp along the diagonal."""
    ramp = bytes(range(PERIOD)) * ((width + height) // PERIOD + 1)
    rows = b"".join(b"\0" + ramp[y : y + width] for y in range(height))
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def write_movie(path: Path, width: int, height: int, frames: int) -> None:
    """Write raw video in which a ramp moves to the left."""
    ramp = bytes(range(PERIOD)) * (width // PERIOD + 2)
    colour = b"\x80" * (width * height // 2)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F24:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(frames):
            starts = ((y + 3 * number) % PERIOD for y in range(height))
            file.write(b"FRAME\n" + b"".join(ramp[start : start + width] for start in starts))
            file.write(colour)
