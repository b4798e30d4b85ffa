"""Texts of the Sword project, read from the files of a module: an index of places, blocks of zlib, OSIS markup.

Source of the format (zText): the Sword project's own description, and the files of Debian's sword-text-web.
"""

import html
import os
import pathlib
import re
import zlib
from typing import NamedTuple

import numpy as np

from gidd_jax.errors import InputError

SYSTEM = pathlib.Path("/usr/share/sword")
BLOCK = np.dtype([("start", "<u4"), ("size", "<u4"), ("whole", "<u4")])
PLACE = np.dtype([("block", "<u4"), ("start", "<u4"), ("size", "<u2")])

HEADING = re.compile(r"<(title|speaker)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
NOTE = re.compile(r"<note\b[^>]*(?<!/)>.*?</note>", re.DOTALL)
NEXT = re.compile(r"\0+(?=[\w“‘(])")
"""Where a footnote stood between two words."""
INLINE = re.compile(r"</?(w|q|seg|hi|transChange|divineName|foreign|name)\b[^>]*>")
TAG = re.compile(r"<[^>]*>")


class Module(NamedTuple):
    """Where a module's files lie, and the versification that its places follow."""

    folder: pathlib.Path
    versification: str


def folders() -> list[pathlib.Path]:
    """Where Sword's texts are installed: $SWORD_PATH, ~/.sword and /usr/share/sword."""
    named = [pathlib.Path(os.environ["SWORD_PATH"])] if os.environ.get("SWORD_PATH") else []
    return [*named, pathlib.Path.home() / ".sword", SYSTEM]


def module(folder: pathlib.Path, word: str) -> Module | None:
    """The first module of a folder (it holds `mods.d`) with ``word`` in its file's name; None where there is none.

    Raises ``InputError`` for one that is no zText of plain zlib blocks.
    """
    for path in sorted(folder.glob("mods.d/*.conf")):
        if word not in path.name.lower():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        said = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
        kind = said.get("ModDrv"), said.get("CompressType", "LZSS"), said.get("CipherKey")
        if kind != ("zText", "ZIP", None):
            raise InputError(f"{path}: driver {kind[0]}, compressed by {kind[1]}; only open zText in ZIP can be read")
        return Module(folder / said.get("DataPath", "."), said.get("Versification", "KJV"))
    return None


def entries(found: Module, testament: str) -> list[str]:
    """What stands in every place of a testament, "ot" or "nt", with its markup; headings have places too.

    Raises ``InputError`` for files that are missing or not what they should be.
    """
    try:
        (blocks,) = found.folder.glob(f"{testament}.?zs")
        kind = blocks.suffix[1]
        index = np.fromfile(blocks, BLOCK)
        packed = blocks.with_suffix(f".{kind}zz").read_bytes()
        places = np.fromfile(blocks.with_suffix(f".{kind}zv"), PLACE)
        whole = [zlib.decompress(packed[start : start + size]) for start, size, _ in index.tolist()]
        return [
            whole[block][start : start + size].decode(errors="replace") if size else ""
            for block, start, size in places.tolist()
        ]
    except (OSError, ValueError, IndexError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{found.folder}: {testament} cannot be read ({reason}); install the module anew") from None


def plain(markup: str) -> str:
    """OSIS markup -> the words of the verse, one space between them.

    Left out are footnotes, headings, and all after the end of the chapter, such as a glossary.
    """
    text = markup.partition("<chapter eID")[0]
    text = TAG.sub(" ", INLINE.sub("", NOTE.sub("\0", HEADING.sub("", text))))
    return " ".join(html.unescape(NEXT.sub(" ", text).replace("\0", "")).split())
