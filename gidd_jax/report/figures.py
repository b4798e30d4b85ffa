"""A panel as SVG that needs no script: what the page's script draws larger, with values under the pointer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from gidd_jax.grid import Number
from gidd_jax.report.markup import Markup, tag
from gidd_jax.report.told import BEFORE

WIDTH, HEIGHT = 264, 168
RIGHT, TOP, BOTTOM = 8, 8, 32
HUES, SHADES = 6, 12
"""Colours of lines, .c0 to .c5 of the style sheet, told apart under every common colour blindness, then dashes; shades
of a dial's values, .r0 to .r11, from dark to light."""


class Frame(NamedTuple):
    """Where a value and a place in [0, 1] stand on the paper."""

    left: Number
    low: Number
    high: Number

    def across(self, place: Number) -> str:
        """x, in the units of the view box."""
        return f"{self.left + place * (WIDTH - self.left - RIGHT):.1f}"

    def up(self, value: Number) -> str:
        """y of a value, at the edge where it is beyond the axis."""
        kept = min(max(value, self.low), self.high)
        return f"{TOP + (self.high - kept) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM):.1f}"

    def holds(self, value: Number | None) -> bool:
        """Whether there is a value and it is on the axis."""
        return value is not None and self.low <= value <= self.high


def small(
    panel: dict[str, Any],
    x: dict[str, Any],
    looks: Sequence[str],
    told: str,
    dots: Sequence[tuple[Number, Number]] = (),
) -> Markup:
    """One panel of an overview: ``looks`` are the classes of its series, ``dots`` (place, value) of replicas."""
    low, high, marks = panel["y"]
    frame = Frame(12 + 5.4 * max(len(text) for _, text in marks), low, high)
    kept = [(place, value) for place, value in dots if frame.holds(value)]
    parts = [*_axes(frame, panel, x), *_guides(frame, panel, x), _dotted(frame, kept, "dots")]
    for look, mean, half in zip(looks, panel["mean"], panel["half"], strict=True):
        parts += _series(frame, x["pos"], mean, half, look)
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=told, class_="panel")


def guide(name: str, line: int | None = None) -> str:
    """The classes of a line to read a metric beside: dashed for what it was before training, dotted for the rest."""
    return "guide" + (" before" if name == BEFORE else "") + (f" {hue(line)}" if line is not None else "")


def hue(line: int) -> str:
    """The classes that colour and dash a line."""
    return f"c{line % HUES}" + (f" d{line // HUES % 3}" if line >= HUES else "")


def shade(value: Number, count: int) -> str:
    """The class that colours the value of a dial at this place among so many."""
    return f"r{round(value / max(1, count - 1) * (SHADES - 1))}"


def stroke(look: str) -> Markup:
    """A piece of a line, for a key."""
    return tag("svg", tag("path", d="M1 6h20", class_=look), width=22, height=12, aria_hidden="true")


def _axes(frame: Frame, panel: dict[str, Any], x: dict[str, Any]) -> list[Markup]:
    parts = []
    for value, text in panel["y"][2]:
        y = frame.up(value)
        parts.append(tag("line", x1=frame.left, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", text, x=frame.left - 5, y=float(y) + 3.2, class_="tick", text_anchor="end"))
    for place, text in x["ticks"]:
        at = {"x": frame.across(place), "y": HEIGHT - BOTTOM + 13}
        parts.append(tag("text", text, **at, class_="tick", text_anchor="middle"))
    middle = {"x": (frame.left + WIDTH - RIGHT) / 2, "y": HEIGHT - 5}
    return [*parts, tag("text", x["label"], **middle, class_="axis", text_anchor="middle")]


def _guides(frame: Frame, panel: dict[str, Any], x: dict[str, Any]) -> list[Markup]:
    parts = []
    for name, line, values in panel["guides"]:
        points = [(frame.across(p), frame.up(v)) for p, v in zip(x["pos"], values, strict=True) if frame.holds(v)]
        if len(points) == 1:
            points = [(frame.across(place), points[0][1]) for place in (0, 1)]
        parts.append(tag("path", d=_path(points), class_=guide(name, line)))
    for place, (text, above) in enumerate(panel["beyond"]):
        at = {"x": WIDTH - RIGHT, "y": TOP + 8 + 11 * place if above else HEIGHT - BOTTOM - 4 - 11 * place}
        parts.append(tag("text", f"{text} {'↑' if above else '↓'}", **at, class_="tick edge", text_anchor="end"))
    return parts


def _series(frame: Frame, places: list[Number], mean: list, half: list | None, look: str) -> list[Markup]:
    """The band of a series, or the bar of its only point; its line; its points."""
    known = [(frame.across(p), m, h) for p, m, h in zip(places, mean, half or mean, strict=True) if m is not None]
    wide = [(p, frame.up(m + h), frame.up(m - h)) for p, m, h in known if half and h is not None]
    parts = []
    if len(wide) > 1:
        edge = [*((p, top) for p, top, _ in wide), *((p, bottom) for p, _, bottom in reversed(wide))]
        parts.append(tag("path", d=_path(edge) + "Z", class_=f"band {look}"))
    elif wide:
        parts.append(tag("path", d=_path([(wide[0][0], wide[0][1]), (wide[0][0], wide[0][2])]), class_=f"bar {look}"))
    parts.append(tag("path", d=_path([(p, frame.up(m)) for p, m, _ in known]), class_=f"mean {look}"))
    points = [(place, m) for place, m in zip(places, mean, strict=True) if m is not None]
    return [*parts, _dotted(frame, points, f"marks {look}")]


def _dotted(frame: Frame, points: Sequence[tuple[Number, Number]], look: str) -> Markup:
    return tag("path", d="".join(f"M{frame.across(p)} {frame.up(v)}h0" for p, v in points), class_=look)


def _path(points: Sequence[tuple[str, str]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points) if points else ""
