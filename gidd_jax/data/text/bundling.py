"""Makes the text that comes with the package, from Debian's bible-kjv 4.38 (``texts/README.md`` tells its source):

``bible -f -l0 gen1:1-rev22:21 | python -m gidd_jax.data.text.bundling FOLDER``
"""

import bz2
import itertools
import pathlib
import re
import sys
from collections.abc import Iterable

VERSE = re.compile(r"(\d?[A-Za-z]+\d+):\d+ (.*)")


def chapters(lines: Iterable[str]) -> list[str]:
    """Lines "Ge1:1 In the beginning ..." -> chapters, one verse a line, without the numbers."""
    verses = [VERSE.fullmatch(line.strip()).groups() for line in lines]
    return ["\n".join(text for _, text in group) for _, group in itertools.groupby(verses, lambda verse: verse[0])]


if __name__ == "__main__":
    text = "\n\n".join(chapters(sys.stdin))
    (pathlib.Path(sys.argv[1]) / "kjv.txt.bz2").write_bytes(bz2.compress(text.encode("ascii")))
