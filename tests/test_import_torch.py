"""The posts' torch models of Sudoku: their logits, what is made of a head they lack, and how torch would start them."""

import json
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from gidd_jax import cli, export
from gidd_jax.config import from_json
from gidd_jax.models import two_head
from gidd_jax.studies import sudoku, sudoku_model

GOLDEN = pathlib.Path(__file__).parent / "golden" / "posts_torch.npz"
apply = jax.jit(two_head.apply, static_argnames="config")


@pytest.fixture(scope="module")
def posts():
    """Four small models written with torch.nn as the posts' code is, and torch's outputs for ``z``."""
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


def state_dict(posts, kind):
    return {name.removeprefix(f"{kind}/param/"): value for name, value in posts.items() if f"{kind}/param/" in name}


def run(capsys, *words):
    status = cli.main(list(map(str, words)))
    told = capsys.readouterr()
    return status, told.out, told.err


def imported(posts, kind, folder, capsys):
    save_file(state_dict(posts, kind), folder / "state.safetensors")
    status, out, _ = run(capsys, "import-torch", folder / "state.safetensors", "--out", folder / "model")
    assert status == 0
    return out


SLOW = pytest.mark.slow
KINDS = {  # noise, decode_by, gated
    "two_head": ("uniform", "holding", False),
    "gated": ("uniform", "holding", True),
    "uniform": ("uniform", "confidence", False),
    "masked": ("masked", "confidence", False),
}


@pytest.mark.parametrize("kind", ["two_head", "masked", *(pytest.param(k, marks=SLOW) for k in ("gated", "uniform"))])
def test_logits_are_those_of_torch(posts, kind, tmp_path, capsys):
    told = imported(posts, kind, tmp_path, capsys)
    entry, config, hyper, params = export.load_model(sudoku, tmp_path / "model")
    assert (config.noise, config.decode_by, config.gated) == KINDS[kind]
    assert (config.data, config.layers, config.d_model, config.d_ff, entry["step"]) == ("4x4", 2, 16, 24, None)
    model = sudoku_model.shape(config, {"question": np.zeros((1, 16))})
    z = jnp.asarray(posts[f"{kind}/z"], jnp.int32)
    dials = sudoku_model.final_couplings(hyper, config)
    heads = apply(params, config=model, z=z, given=z < 0, t=jnp.ones(len(z)), couplings=dials)
    if kind in ("two_head", "gated"):
        np.testing.assert_allclose(heads.jump[0], posts[f"{kind}/jump"], atol=1e-5)
        np.testing.assert_allclose(heads.holding[0], posts[f"{kind}/holding"], atol=1e-5)
    else:
        np.testing.assert_allclose(heads.jump[0], posts[f"{kind}/output"][..., 1:], atol=1e-5)
        np.testing.assert_array_equal(heads.holding, 0)
        assert "The model has one head" in told
    if kind == "gated":
        assert (z == model.mask_id).any() and "(gate 0)" in told
    assert len(z) == 4 and np.abs(heads.jump).max() > 0.5


def test_an_imported_model_completes_boards(posts, tmp_path, capsys):
    imported(posts, "masked", tmp_path, capsys)
    words = ["sample", tmp_path / "model", "--board", "1...............", "12..34..........", "--cells", 5]
    status, out, _ = run(capsys, *words, "--sampler", "remask", "--steps", 4, "--trace")
    assert status == 0 and out.count("remask, 4 calls: violations") == 2 and "?->" in out


@pytest.mark.slow
def test_an_imported_model_is_measured(posts, tmp_path, capsys):
    told = imported(posts, "uniform", tmp_path, capsys).splitlines()
    words = ["--decode", 4, "--decode-boards", 8, "--eval-boards", 64, "--samplers", "resample", "--sampler-steps", 4]
    status, out, _ = run(capsys, "evaluate", tmp_path / "model", *words)
    assert status == 0 and "resample" in out and "step -1" in out and "Untrained" not in out
    assert [line for line in told if line.startswith(("The model has one head", "Its training"))] == out.splitlines()[
        -2:
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("holding.bias"), "1 missing: holding.bias"),
        (lambda tensors: tensors.update(extra=np.zeros(2, np.float32)), "1 unexpected: extra"),
        (lambda tensors: tensors.pop("pos_embedding.weight"), "no matrix pos_embedding.weight in it"),
        (
            lambda tensors: tensors.update({"embedding.weight": np.zeros((9, 16), np.float32)}),
            "9 tokens for boards of 16",
        ),
        (
            lambda tensors: tensors.update({"jump_chain.weight": np.zeros((9, 16), np.float32)}),
            "1 of another shape: jump_chain.weight (9, 16) for (4, 16)",
        ),
    ],
)
def test_what_is_none_of_the_posts_is_one_line_and_no_file(posts, tmp_path, capsys, change, told):
    tensors = state_dict(posts, "two_head")
    change(tensors)
    save_file(tensors, tmp_path / "state.safetensors")
    status, out, err = run(capsys, "import-torch", tmp_path / "state.safetensors", "--out", tmp_path / "model")
    assert status == 2 and told in err and err.count("\n") == 1 and out == ""
    assert not (tmp_path / "model").exists()


def test_heads_must_divide_the_width(posts, tmp_path, capsys):
    save_file(state_dict(posts, "two_head"), tmp_path / "state.safetensors")
    words = ["import-torch", tmp_path / "state.safetensors", "--out", tmp_path / "model", "--heads"]
    status, _, err = run(capsys, *words, 5)
    assert status == 2 and "d_model 16 must be a multiple of 2 x heads" in err
    assert run(capsys, *words, 2)[0] == 0
    about = json.loads((tmp_path / "model" / "config.json").read_text())
    assert from_json(sudoku.Config, about["config"]).heads == 2


# ---------------------------------------------------------------- how torch starts such a model


@pytest.fixture(scope="module")
def started():
    config = two_head.TwoHeadConfig(81, 9, 3, 3, trunk="shared", norm="post", given=False, init="torch")
    return jax.jit(partial(two_head.init, config=config))(jax.random.key(0))


def test_torch_starts_all_layers_alike(started):
    first = started["blocks_0"]
    for i in (1, 2, 3):
        jax.tree.map(np.testing.assert_array_equal, started[f"blocks_{i}"], first)
    assert not np.array_equal(first["feed"]["up"]["bias"][0, :128], first["feed"]["out"]["bias"][0])


def test_torch_widths(started):
    """Largest entry and standard deviation of a uniform law; torch 2.13 gives .10825, .08839, .04419 for width 128."""
    layer = started["blocks_0"]
    bounds = {
        0.108253: [layer["attention"]["qkv"]["kernel"]],
        0.088388: [layer["attention"]["out"]["kernel"], layer["feed"]["up"]["kernel"], started["jump"]["kernel"]],
        0.044194: [layer["feed"]["out"]["kernel"]],
    }
    for bound, kernels in bounds.items():
        for kernel in kernels:
            # 1,152 entries at least: the largest is below .98 of the bound with probability 8e-11.
            assert 0.98 * bound < np.abs(kernel).max() <= bound * (1 + 1e-6)
            # Relative standard error of the standard deviation of a uniform law is .45 / sqrt(n).
            np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=5 * 0.45 / np.sqrt(kernel.size))
    for bias, bound in ((layer["feed"]["up"], 0.088388), (layer["feed"]["out"], 0.044194)):
        assert 0.9 * bound < np.abs(bias["bias"]).max() <= bound * (1 + 1e-6)
    for name in ("qkv", "out"):
        np.testing.assert_array_equal(layer["attention"][name]["bias"], 0)
    for norm in ("norm_attention", "norm_feed"):
        np.testing.assert_array_equal(layer[norm]["scale"], 1)
        np.testing.assert_array_equal(layer[norm]["bias"], 0)
    np.testing.assert_allclose(started["position"]["embedding"].std(), 1, rtol=0.03)
    assert np.abs(started["token"]["embedding"]).max() > 2


def test_towers_start_apart():
    config = two_head.TwoHeadConfig(16, 4, 2, 2, d_model=16, layers=2, d_ff=24, init="torch")
    tree = jax.jit(partial(two_head.init, config=config))(jax.random.key(0))
    kernel = tree["blocks_1"]["feed"]["up"]["kernel"]
    assert not np.array_equal(kernel[0], kernel[1])
