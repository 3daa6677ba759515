"""Bar charts: plain text for a terminal, SVG written by hand, PNG where matplotlib is installed."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from xml.sax.saxutils import escape

from ..errors import UsageError

Bars = Sequence[tuple[str, float]]
ROW, LEFT, WIDTH, RIGHT, TOP = 22, 330, 420, 90, 44


def text_bars(bars: Bars, width: int = 40, unit: str = "") -> str:
    """One line a bar: label, bar, value."""
    most = max((v for _, v in bars), default=0.0)
    label = max((len(n) for n, _ in bars), default=0)
    lines = []
    for name, value in bars:
        filled = round(width * value / most) if most > 0 else 0
        lines.append(f"{name:<{label}}  {'#' * filled:<{width}}  {value:.4g}{' ' + unit if unit else ''}")
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


def png_bars(bars: Bars, title: str, unit: str = "") -> bytes:
    """The same as PNG. ``UsageError`` without matplotlib, which is no dependency of envcheck."""
    try:
        figure = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise UsageError(
            "a PNG needs matplotlib, which is not installed here: pip install matplotlib, or ask for a .svg, "
            "which needs nothing"
        ) from None
    chart = figure.Figure(figsize=(9, 0.8 + 0.3 * len(bars)), layout="constrained")
    axes = chart.subplots()
    axes.barh([n for n, _ in bars], [v for _, v in bars], color="#4a7ebb")
    axes.invert_yaxis()
    axes.set_title(title)
    axes.set_xlabel(unit)
    buffer = io.BytesIO()
    chart.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


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
