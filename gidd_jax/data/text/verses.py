"""The Bible in two translations, verse by verse: King James, which comes with the package, and World English."""

import collections
import pathlib

from gidd_jax.data.text import offline, sword
from gidd_jax.errors import InputError

NAME = "kjv-web"
OLD = (
    "Gen 50 Exod 40 Lev 27 Num 36 Deut 34 Josh 24 Judg 21 Ruth 4 1Sam 31 2Sam 24 1Kgs 22 2Kgs 25 1Chr 29 2Chr 36 "
    "Ezra 10 Neh 13 Esth 10 Job 42 Ps 150 Prov 31 Eccl 12 Song 8 Isa 66 Jer 52 Lam 5 Ezek 48 Dan 12 Hos 14 Joel 3 "
    "Amos 9 Obad 1 Jonah 4 Mic 7 Nah 3 Hab 3 Zeph 3 Hag 2 Zech 14 Mal 4"
)
NEW = (
    "Matt 28 Mark 16 Luke 24 John 21 Acts 28 Rom 16 1Cor 16 2Cor 13 Gal 6 Eph 6 Phil 4 Col 4 1Thess 5 2Thess 3 "
    "1Tim 6 2Tim 4 Titus 3 Phlm 1 Heb 13 Jas 5 1Pet 5 2Pet 3 1John 5 2John 1 3John 1 Jude 1 Rev 22"
)
MORE = {"KJV": {}, "NRSVA": {("3John", 1): 1, ("Rev", 12): 1}}
"""Verses that the chapters of a versification have beyond those of the King James Version."""

Reference = tuple[str, int, int]


def is_source(source: str) -> bool:
    """Whether a source of text names these verses: kjv-web, or a folder of Sword modules."""
    return source == NAME or (pathlib.Path(source) / "mods.d").is_dir()


def kjv() -> dict[Reference, str]:
    """Book (its OSIS name), chapter, verse -> text: 31,102 verses of the King James Version, in order."""
    chapters = [(book, number) for part in (OLD, NEW) for book, count in _books(part) for number in range(1, count + 1)]
    return {
        (book, chapter, verse): text
        for (book, chapter), lines in zip(chapters, offline.kjv(), strict=True)
        for verse, text in enumerate(lines.split("\n"), 1)
    }


def web(source: str = NAME) -> dict[Reference, str]:
    """The verses of ``kjv`` in the World English Bible, where it has them: 31,095, in order.

    They are read from Debian's package sword-text-web: from where that installs it, or a folder that holds its
    `mods.d`. Public domain; "World English Bible" is a trademark of eBible.org, for the text unchanged.
    Raises ``InputError`` where it is not installed, or is not counted as the King James Version or NRSVA is.
    """
    looked = sword.folders() if source == NAME else [pathlib.Path(source)]
    found = next(filter(None, (sword.module(folder, "web") for folder in looked)), None)
    if found is None:
        raise InputError(
            f"{source}: no World English Bible in {', '.join(map(str, looked))}; apt-get install sword-text-web, or "
            "name a folder with its mods.d"
        )
    if found.versification not in MORE:
        raise InputError(f"{found.folder}: versification {found.versification} is not one of {', '.join(MORE)}")
    more = MORE[found.versification]
    lengths = collections.Counter((book, chapter) for book, chapter, _ in kjv())
    verses = {}
    for testament, part in (("ot", OLD), ("nt", NEW)):
        entries = sword.entries(found, testament)
        # The module, the testament, every book and every chapter have a heading in front.
        place = 2
        for book, chapters in _books(part):
            place += 1
            for chapter in range(1, chapters + 1):
                place += 1
                count = lengths[book, chapter]
                for verse, markup in enumerate(entries[place : place + count], 1):
                    if text := sword.plain(markup):
                        verses[book, chapter, verse] = text
                place += count + more.get((book, chapter), 0)
        if place > len(entries):
            raise InputError(
                f"{found.folder}: {len(entries)} places in {testament} where its versification has {place} or more; "
                "install the module anew"
            )
    return verses


def pairs(source: str = NAME) -> tuple[list[Reference], list[str], list[str]]:
    """References, King James verses, World English verses: those that both have, in order; see ``web``."""
    english, james = web(source), kjv()
    both = [reference for reference in james if reference in english]
    return both, [james[reference] for reference in both], [english[reference] for reference in both]


def _books(part: str) -> list[tuple[str, int]]:
    words = part.split()
    return list(zip(words[::2], map(int, words[1::2]), strict=True))
