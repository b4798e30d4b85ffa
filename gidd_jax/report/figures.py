"""A panel as SVG that needs no script: what the page's script draws larger, with values under the pointer."""

from collections.abc import Sequence
from typing import Any

from gidd_jax.report.markup import Markup, tag

WIDTH, HEIGHT = 264, 168
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 32
HUES = 6
"""Colours of lines: .c0 to .c5 of the style sheet, told apart under every common colour blindness; then dashes."""


def small(panel: dict[str, Any], x: dict[str, Any], lines: Sequence[int], told: str) -> Markup:
    """One panel of an overview, a colour a line; ``lines`` of the replicas whose dots are drawn, by setting and x."""
    low, high, marks = panel["y"]

    def across(place: float) -> str:
        return f"{LEFT + place * (WIDTH - LEFT - RIGHT):.1f}"

    def up(value: float) -> str:
        kept = min(max(value, low), high)
        return f"{TOP + (high - kept) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up(value), y2=up(value), class_="grid") for value, _ in marks]
    parts += [
        tag("text", text, x=LEFT - 5, y=float(up(v)) + 3.2, class_="tick", text_anchor="end") for v, text in marks
    ]
    parts += [
        tag("text", text, x=across(place), y=HEIGHT - BOTTOM + 13, class_="tick", text_anchor="middle")
        for place, text in x["ticks"]
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", x["label"], x=middle, y=HEIGHT - 5, class_="axis", text_anchor="middle"))
    for name, line, values in panel["guides"]:
        points = [
            (across(p), up(v)) for p, v in zip(x["pos"], values, strict=True) if v is not None and low <= v <= high
        ]
        if len(points) == 1:
            points = [(across(0), points[0][1]), (across(1), points[0][1])]
        parts.append(tag("path", d=_path(points), class_=guide(name, line)))
    for place, (text, above) in enumerate(panel["beyond"]):
        at = TOP + 8 + 11 * place if above else HEIGHT - BOTTOM - 4 - 11 * place
        parts.append(
            tag("text", f"{text} {'↑' if above else '↓'}", x=WIDTH - RIGHT, y=at, class_="tick edge", text_anchor="end")
        )
    dots = [
        f"M{across(x['pos'][place])} {up(value)}h0"
        for (_, place), value in zip(lines, panel["dots"], strict=True)
        if value is not None and low <= value <= high
    ]
    parts.append(tag("path", d="".join(dots), class_="dots"))
    for index, mean, half in zip(panel["s"], panel["mean"], panel["half"], strict=True):
        known = [(across(p), m, h) for p, m, h in zip(x["pos"], mean, half or mean, strict=True) if m is not None]
        if half:
            banded = [(p, m, h) for p, m, h in known if h is not None]
            edge = [(p, up(m + h)) for p, m, h in banded] + [(p, up(m - h)) for p, m, h in reversed(banded)]
            if len(banded) > 1:
                parts.append(tag("path", d=_path(edge) + "Z", class_=f"band {hue(index)}"))
            else:
                parts += [
                    tag("path", d=_path([(p, up(m - h)), (p, up(m + h))]), class_=hue(index)) for p, m, h in banded
                ]
        parts.append(tag("path", d=_path([(p, up(m)) for p, m, _ in known]), class_=f"mean {hue(index)}"))
        parts.append(tag("path", d="".join(f"M{p} {up(m)}h0" for p, m, _ in known), class_=f"marks {hue(index)}"))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=told, class_="panel")


def guide(name: str, line: int | None = None) -> str:
    """The classes of a line to read a metric beside: dashed for the untrained model, dotted for the rest."""
    return "guide" + (" before" if name == "untrained" else "") + (f" {hue(line)}" if line is not None else "")


def hue(line: int) -> str:
    """The classes that colour and dash a line."""
    return f"c{line % HUES}" + (f" d{line // HUES % 3}" if line >= HUES else "")


def _path(points: Sequence[tuple[str, str]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points) if points else ""
