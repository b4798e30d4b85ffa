"""HTML and SVG as values: whatever is not markup already is escaped, so that no name or setting becomes code."""

import base64
import hashlib
import html
import json
from typing import Any

VOID = frozenset(("meta", "link", "input", "br", "hr"))


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """``<name a="b">children</name>``; None and False leave an attribute or a child out, True makes it bare.

    ``class_`` is the attribute ``class``, and ``aria_sort`` is ``aria-sort``; a child that is a list stands for its
    members.
    """
    said = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escaped(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(children)}</{name}>")


def joined(children: Any) -> Markup:
    """The children one after the other, those that are no markup escaped."""
    if isinstance(children, (list, tuple)):
        return Markup("".join(map(joined, children)))
    if children is None or children is False:
        return Markup("")
    return children if isinstance(children, Markup) else Markup(escaped(children))


def escaped(value: Any) -> str:
    """Text that no HTML parser takes for markup; what no document may hold (half a surrogate pair) becomes "?"."""
    return html.escape(str(value)).encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def data_block(name: str, value: Any) -> Markup:
    """JSON that a script reads by its id. No "<" is left in it, so that no value can end the block."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{escaped(name)}">{text}</script>')


def inline(name: str, text: str) -> tuple[Markup, str]:
    """A script or style of our own, and the hash by which a content security policy lets it in and no other."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"<{name}>{text}</{name}>"), f"'sha256-{digest}'"
