"""The house itself: imports point one way, files stay short, no setting is dead, importing costs little."""

import ast
import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest

from gidd_jax.commands import flags

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "gidd_jax"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

# Left to right: a room imports only rooms to its left, and its own.
ORDER = """
    __init__ errors types config
    files record grid
    schedules corruption losses oracle known probes geometry kuramoto diffusion replica
    models data
    optim train sampling likelihood
    checkpoint metrics progress
    kernels program ledger memory writer sweep export weights
    analysis plotting plotting_pairs plotting_samplers plotting_transitions report
    studies
    commands cli __main__
""".split()

HEAVY = dict.fromkeys(
    ("record", "analysis", "plotting", "plotting_pairs", "plotting_samplers", "plotting_transitions", "report"), "jax"
)


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Names of gidd_jax modules and of other packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "gidd_jax":
                yield from (f"gidd_jax.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_the_left(path):
    here = room(path)
    assert here in ORDER, f"{here} has no place in the order of rooms yet: give it one here and in ARCHITECTURE.md"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "gidd_jax" or len(parts) == 1 or parts[1] == "__version__":
            continue
        assert ORDER.index(parts[1]) <= ORDER.index(here), f"{here} imports {name}, which stands to its right"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_packages_stay_in_their_rooms(path):
    text, here = path.read_text(), room(path)
    packages = {name.split(".")[0] for name in imported(path)}
    assert "flax" not in packages or here == "models"
    assert "optax" not in packages or here in ("optim", "train")
    assert "orbax" not in packages or here == "checkpoint"
    assert "jax" not in packages or here not in HEAVY
    assert not re.search(r"\bjax\.(core|_src|interpreters)\b", text)
    # Replicas are vmapped in one file; elsewhere vmap goes over boards, modes or draws of one replica.
    assert "jax.vmap" not in text or here not in ("sweep", "writer", "memory", "train", "losses", "corruption")
    for node in ast.parse(text).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        late = {"datasets", "numba", "tqdm", "beartype", "safetensors", "torch", "yaml", "tokenizers"}
        assert not late & {name.split(".")[0] for name in names}, "imported where it is used, for machines without it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", flags.STUDIES)
def test_every_setting_is_read_somewhere(name):
    text = "\n".join(path.read_text() for path in FILES if "settings" not in path.name)
    study = flags.study(name)
    for field in dataclasses.fields(study.Config):
        assert re.search(rf"\b\w*(config|settings|self|c)\.{field.name}\b|\"{field.name}\"", text), field.name
    for dial in study.Hyper._fields:
        assert re.search(rf"\.{dial}\b|\"{dial.removeprefix('w_')}\"", text), dial


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, gidd_jax.cli; print(sorted({'jax', 'flax', 'pandas', 'datasets'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_importing_a_study_needs_no_package_that_a_bare_machine_lacks():
    code = """
import sys
for name in ("datasets", "numba", "beartype", "chex", "pytest", "tokenizers", "tyro"):
    sys.modules[name] = None
import gidd_jax.studies.sudoku, gidd_jax.sweep, gidd_jax.commands.sweep
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
