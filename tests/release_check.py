"""Builds sdist and wheel, installs each in an environment of its own with this Python, and uses what is there.

    make release-check PYTHON=python3.12

Every file of the package that git tracks must be installed, no dependency may be missing or in conflict, and the
command must train, draw, report and sample from the bundled data, away from the checkout. Needs a package index (for
the dependencies) and git; takes some minutes and 2 GB while it runs, and leaves nothing.
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile
import venv

ROOT = pathlib.Path(__file__).parent.parent
BOARDS = ("4x4", "6x6", "9x9")
USES = f"""
import pathlib, gidd_jax
from gidd_jax.data import images, sudoku, text
assert "site-packages" in gidd_jax.__file__, gidd_jax.__file__
assert all(len(sudoku.load(name)) for name in {BOARDS})
assert len(images.load("digits").train[0]) > 1000
assert len(text.load("kjv", cut="line").train.tokens) > 1_000_000
"""
SUDOKU = (
    "sweep sudoku --data 4x4 --steps 2 --d-model 4 --heads 1 --layers 1 --d-ff 4 --batch 2 --eval-boards 2 "
    "--decode-boards 2 --decode 16 --seeds 0 --coupling 0 --quiet --out sudoku"
)
COMMANDS = (
    "--help",
    "sweep kuramoto --oscillators 4 --seeds 0 1 --coupling 1 2 --steps 20 --quiet --out kuramoto",
    "report kuramoto",
    SUDOKU,
    "sample sudoku --row 44136fa355b3 --board 12..............",
    "export sudoku --row 44136fa355b3 --out model",
    "generate-puzzles kaggle boards.csv --count 4 --box 2x2",
)


def main() -> None:
    """Builds, then checks both; the first thing that is wrong ends it."""
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        build = environment(place / "build")
        run(build / "python", "-m", "pip", "install", "--quiet", "build")
        run(build / "python", "-m", "build", "--outdir", place / "dist", ROOT)
        for artifact in sorted((place / "dist").iterdir()):
            check(artifact, place / f"use-{artifact.suffix.strip('.')}")
            print(f"{artifact.name} on Python {sys.version.split()[0]}: sound", flush=True)


def check(artifact: pathlib.Path, place: pathlib.Path) -> None:
    """One artifact in an environment of its own."""
    tracked = run("git", "-C", ROOT, "ls-files", "gidd_jax").split()
    if artifact.suffix == ".gz":
        with tarfile.open(artifact) as packed:
            names = {name.partition("/")[2] for name in packed.getnames()}
        missing = {*tracked, "LICENSE", "README.md", "Makefile", "tests/conftest.py"} - names
        assert not missing, f"{artifact.name} lacks {sorted(missing)}"
    bin = environment(place)
    run(bin / "python", "-m", "pip", "install", "--quiet", artifact)
    run(bin / "python", "-m", "pip", "check")
    (site,) = place.glob("lib/python*/site-packages")
    installed = {str(path.relative_to(site)) for path in (site / "gidd_jax").rglob("*")}
    assert not set(tracked) - installed, f"{artifact.name} did not install {sorted(set(tracked) - installed)}"
    assert not [path for path in site.iterdir() if path.name in ("tests", "experiments", "benchmarks")]
    work = place / "work"
    work.mkdir()
    run(bin / "python", "-c", USES, cwd=work)
    for words in COMMANDS:
        run(bin / "gidd-jax", *words.split(), cwd=work)
    subprocess.run(["rm", "-rf", place], check=True)


def environment(place: pathlib.Path) -> pathlib.Path:
    """A fresh environment -> its folder of programs."""
    venv.create(place, with_pip=True)
    return place / "bin"


def run(*words: object, cwd: pathlib.Path | None = None) -> str:
    """What a command prints; where it fails, what it said ends this one."""
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
