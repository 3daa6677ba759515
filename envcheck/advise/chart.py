"""Bar charts: plain text as wide as the terminal, SVG and PNG written by hand (no drawing library is needed)."""

from __future__ import annotations

import functools
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from ..errors import UsageError

Bars = Sequence[tuple[str, float]]
ROW, LEFT, WIDTH, RIGHT, TOP = 22, 330, 420, 90, 44
FONT = Path(__file__).with_name("font.json")
GLYPH_WIDTH, GLYPH_HEIGHT = 6, 13
SCALE = 2  # PNG: pixels of the picture per unit of the layout
WHITE, BLACK, BLUE = (255, 255, 255), (0, 0, 0), (74, 126, 187)
LONGEST = 60  # characters of a bar, however wide the terminal is


def text_bars(bars: Bars, columns: int = 80) -> str:
    """One line a bar: label, bar, value; ASCII, and never wider than ``columns`` (20 at least)."""
    columns = max(20, columns)
    most = max((v for _, v in bars), default=0.0)
    values = [f"{v:.4g}" for _, v in bars]
    right = max((len(v) for v in values), default=0)
    label = min(max((len(n) for n, _ in bars), default=0), max(4, columns - right - 12))
    width = max(0, min(LONGEST, columns - label - right - 4))
    lines = []
    for (name, value), said in zip(bars, values, strict=True):
        filled = round(width * value / most) if most > 0 else 0
        short = name if len(name) <= label else name[: label - 2] + ".."
        lines.append(f"{short:<{label}}  {'#' * filled:<{width}}  {said:>{right}}")
    return "\n".join(lines) + "\n" if lines else ""


def svg_bars(bars: Bars, title: str, unit: str = "") -> str:
    """A complete SVG document."""
    most = max((v for _, v in bars), default=0.0) or 1.0
    height = TOP + ROW * len(bars) + 12
    total = LEFT + WIDTH + RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" viewBox="0 0 {total} {height}" '
        f'font-family="sans-serif" font-size="12" role="img"><title>{escape(title)}</title>',
        f'<rect width="{total}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(bars):
        y = TOP + ROW * number
        length = WIDTH * max(0.0, value) / most
        parts.append(f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{ROW - 6}" fill="#4a7ebb"/>')
        label = escape(f"{value:.4g} {unit}".strip())
        parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 14}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class Picture:
    """An RGB picture in memory; coordinates are those of the layout."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width * SCALE, height * SCALE
        self._rows = [bytearray(bytes(WHITE) * self.width) for _ in range(self.height)]

    def fill(self, x: float, y: float, width: float, height: float, color: tuple[int, int, int]) -> None:
        """A rectangle, cut at the edges."""
        left, right = (min(self.width, max(0, round(v * SCALE))) for v in (x, x + width))
        for row in self._rows[max(0, round(y * SCALE)) : max(0, round((y + height) * SCALE))]:
            row[3 * left : 3 * right] = bytes(color) * (right - left)

    def text(self, x: float, y: float, words: str) -> None:
        """``words`` with their upper left corner there; a character that the font lacks is a question mark."""
        for place, character in enumerate(words):
            index = ord(character) - 32
            glyph = glyphs()[index if 0 <= index < len(glyphs()) else ord("?") - 32]
            for down, bits in enumerate(glyph):
                for across in range(GLYPH_WIDTH):
                    if bits & (0x80 >> across):
                        self.fill(x + place * GLYPH_WIDTH + across, y + down, 1, 1, BLACK)

    def png(self) -> bytes:
        """The file: one image data chunk of rows that no filter was applied to."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        data = zlib.compress(b"".join(b"\0" + bytes(row) for row in self._rows), 9)
        chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*c) for c in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def glyphs() -> tuple[bytes, ...]:
    """A row of pixels a byte, leftmost in the highest bit, for the characters from space to tilde."""
    loaded = json.loads(FONT.read_text(encoding="utf-8"))
    return tuple(bytes.fromhex(word) for line in loaded["glyphs"] for word in line.split())


def png_bars(bars: Bars, title: str, unit: str = "") -> bytes:
    """The same as PNG."""
    most = max((v for _, v in bars), default=0.0) or 1.0
    picture = Picture(LEFT + WIDTH + RIGHT, TOP + ROW * len(bars) + 12)
    picture.text(12, 14, title)
    for number, (name, value) in enumerate(bars):
        y = TOP + ROW * number
        length = WIDTH * max(0.0, value) / most
        short = name[-(LEFT // GLYPH_WIDTH - 2) :]
        picture.text(LEFT - 8 - GLYPH_WIDTH * len(short), y + 3, short)
        picture.fill(LEFT, y + 2, length, ROW - 6, BLUE)
        picture.text(LEFT + length + 6, y + 3, f"{value:.4g} {unit}".strip())
    return picture.png()


def draw(path: str, bars: Bars, title: str, unit: str = "") -> bytes:
    """The bytes of a chart in the format that the name asks for. ``UsageError`` for another than .svg and .png."""
    if not bars:
        raise UsageError("there is nothing to draw: no card is left, or none has that figure")
    low = path.lower()
    if low.endswith(".svg"):
        return svg_bars(bars, title, unit).encode("utf-8")
    if low.endswith(".png"):
        return png_bars(bars, title, unit)
    raise UsageError(f"--plot {path!r}: the name must end in .svg or .png")
