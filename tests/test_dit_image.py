"""The image transformer against a float64 run of its equations in another framework; pairs; its weights imported."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from gidd_jax import cli, export, replica, weights
from gidd_jax.config import from_json
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image

GOLDEN = pathlib.Path(__file__).parent / "golden" / "dit_image.npz"
apply = jax.jit(dit_image.apply, static_argnames="config")
states = jax.jit(
    lambda params, config, x, t, label, g: dit_image.watched(params, config, x, t, label, g, lambda h, _: h),
    static_argnames="config",
)


@pytest.fixture(scope="module")
def run():
    """Tensors under the names of DiT's own code; output, states after each layer, and noise guided at scale 4."""
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def tensors(run):
    return {name.removeprefix("tensor/"): value for name, value in run.items() if name.startswith("tensor/")}


@pytest.fixture(scope="module")
def model(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("dit") / "dit.safetensors"
    save_file(tensors, path)
    found = weights.from_dit(path, heads=2)
    return found._replace(params=jax.tree.map(jnp.asarray, found.params))


def each(g):
    """The coupling of every layer and row: one compiled program serves all tests."""
    return jnp.broadcast_to(jnp.asarray(g, jnp.float32), (3, 3))


def near(found, wanted, largest=3e-6):
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=largest * np.abs(wanted).max())


def pair(run, seed=0):
    other = np.random.default_rng(seed).normal(size=run["x"].shape).astype(np.float32)
    return jnp.stack([jnp.asarray(run["x"]), jnp.asarray(other)])


# ---------------------------------------------------------------- one model


def test_reference_output_states_and_guidance(run, model):
    config = model.config
    assert (config.size, config.channels, config.classes, config.layers, config.learned_variance) == (6, 4, 5, 3, True)
    x, t, label = map(jnp.asarray, (run["x"], run["t"], run["label"]))
    guess, hidden = states(model.params, config, x, t, label, None)
    eps, share = np.split(run["out"], 2, axis=1)
    # The angles t w of late steps are rounded to 1e-4 in float32, in DiT's own code too; those of step 0 are exact.
    near(guess.eps[:1], eps[:1])
    for found, wanted in ((guess.eps, eps), (guess.share, share), (hidden, run["hidden"])):
        near(found, wanted, 5e-5)
    guided = jax.jit(dit_image.guided, static_argnames="config")
    near(guided(model.params, config, x, t, label, 4.0).eps, run["guided"], 1e-4)
    near(guided(model.params, config, x, t, label, 1.0).eps, eps, 5e-5)


@pytest.mark.slow
def test_a_fresh_model_says_nothing_whatever_the_seed():
    config = dit_image.DitImageConfig(8, layers=2, d_model=16, heads=2)
    params = jax.jit(dit_image.init, static_argnums=1)(jax.random.key(0), config)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert not np.any(apply(params, config, jnp.ones((1, 1, 8, 8)), 3, 0).eps)
    assert 0.015 < np.std(params["label"]) < 0.025
    kernel = params["blocks"]["qkv"]["kernel"]
    assert np.abs(kernel).max() <= np.sqrt(6 / 64) and np.abs(kernel).max() > 0.95 * np.sqrt(6 / 64)


def test_parameter_count_of_the_largest_published_model():
    """675,129,632 is what DiT's own trainer prints for XL/2 at 256 pixels, its table of 256 positions included."""
    config = dit_image.DitImageConfig(32, 4, classes=1000, learned_variance=True, **dit_image.PRESETS["XL"])
    assert dit_image.parameter_count(config) + 256 * 1152 == 675_129_632


def test_patches_are_where_they_were():
    x = jnp.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    patches = dit_image.cut(x, 2).reshape(2, 4, 3, 2, 2)
    np.testing.assert_array_equal(patches[1, 2], x[1, :, 2:, :2])
    back = dit_image.pasted(jnp.moveaxis(patches, 2, -1).reshape(2, 4, 12), 2, 2)
    np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 7}, "7 pixels cannot be cut into patches of 2"),
        ({"d_model": 18}, "d_model 18 must be a multiple"),
        ({"layers": 0}, "sizes start at 1"),
    ],
)
def test_shapes_that_cannot_be(settings, message):
    with pytest.raises(InputError, match=message):
        dit_image.DitImageConfig(**{"size": 8} | settings)


def test_inputs_that_do_not_fit(run, model):
    with pytest.raises(InputError, match=r"this model is for images \(4, 6, 6\)"):
        dit_image.apply(model.params, model.config, jnp.zeros((1, 4, 8, 8)), 0, 0)
    with pytest.raises(InputError, match=r"a coupling needs a pair"):
        dit_image.apply(model.params, model.config, jnp.asarray(run["x"]), 0, 0, 0.5)


# ---------------------------------------------------------------- a coupled pair


def test_a_pair_without_coupling_is_the_model_on_the_stacked_batch_bit_for_bit(run, model):
    x, t, label = pair(run), jnp.asarray(run["t"]), jnp.asarray(run["label"])
    alone, seen_alone = states(model.params, model.config, x, t, label, None)
    coupled, seen = states(model.params, model.config, x, t, label, each(0.0))
    np.testing.assert_array_equal(coupled.eps, alone.eps)
    np.testing.assert_array_equal(seen, seen_alone)
    near(alone.eps[0], states(model.params, model.config, x[0], t, label, None)[0].eps)


def test_equal_replicas_stay_equal_for_every_coupling(run, model):
    x, t, label = jnp.stack([jnp.asarray(run["x"])] * 2), jnp.asarray(run["t"]), jnp.asarray(run["label"])
    alone = states(model.params, model.config, x[0], t, label, None)[0].eps
    for g in (0.3, 1.0):
        a, b = states(model.params, model.config, x, t, label, each(g))[0].eps
        np.testing.assert_array_equal(a, b)
        near(a, alone)


def test_couplings_of_rows_and_of_layers(run, model):
    x, t, label = pair(run), jnp.asarray(run["t"]), jnp.asarray(run["label"])
    mixed = states(model.params, model.config, x, t, label, each([0.0, 0.5, 1.0]))[0].eps
    for i, g in enumerate((0.0, 0.5, 1.0)):
        near(mixed[:, i], states(model.params, model.config, x, t, label, each(g))[0].eps[:, i])
    # Coupled in the last layer alone, the states before it are those of a pair apart; and the last are not.
    _, apart = states(model.params, model.config, x, t, label, each(0.0))
    _, seen = states(model.params, model.config, x, t, label, each([[0.0], [0.0], [1.0]]))
    np.testing.assert_array_equal(seen[:2], apart[:2])
    assert np.abs(seen[2] - apart[2]).max() > 1e-2


@pytest.mark.slow
def test_what_is_watched_is_all_that_is_kept(run, model):
    """The cross-Gram of each layer against a state given beside it, as mode energies need it."""
    x, t, label = pair(run), jnp.asarray(run["t"]), jnp.asarray(run["label"])
    _, first = states(model.params, model.config, x, t, label, each(0.5))
    _, then = states(model.params, model.config, x, t[::-1], label, each(0.5))
    flat = lambda h: ((h[0] - h[1]) / 2**0.5).reshape(h.shape[1], -1)  # noqa: E731
    start, end = (np.stack([flat(layer) for layer in np.asarray(h)]) for h in (first, then))
    watch = jax.jit(
        lambda params, V0: dit_image.watched(
            params, model.config, x, t[::-1], label, each(0.5), lambda h, V0: flat(h) @ V0.T, V0
        )[1]
    )
    near(watch(model.params, jnp.asarray(start)), np.einsum("lmd,lnd->lmn", end, start), 1e-5)


@pytest.mark.slow
def test_one_trace_serves_every_coupling_step_and_class(run, model):
    traces = []

    @jax.jit
    def step(x, t, label, g):
        traces.append(None)
        return dit_image.apply(model.params, model.config, x, t, label, g).eps

    for t, label, g in ((1, 0, 0.0), (900, 5, 0.4)):
        step(pair(run), jnp.int32(t), jnp.int32(label), jnp.float32(g))
    assert len(traces) == 1


@pytest.mark.slow
def test_the_block_is_its_linear_parts(run, model):
    """Gates shut by their parameters give the two halves of a block, whose parts add up to its exact derivative."""
    from gidd_jax.models.dit import Block

    config = model.config
    block = Block(config.heads, attend=replica.paired_attention, norm=dit_image.norm, bias=True)
    layer = jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), model.params["blocks"])
    h0 = jnp.asarray(run["hidden"][0])
    v = jax.random.normal(jax.random.key(0), h0.shape)
    c = jax.random.normal(jax.random.key(1), (1, 3, config.d_model))

    @jax.jit
    def found(g):
        pair_of = lambda shut: lambda h: block.apply({"params": dit_image.shut(shut, layer)}, h, c, g)  # noqa: E731
        attend = lambda h: pair_of(1)(h) - h  # noqa: E731
        feed = lambda h: pair_of(0)(jnp.stack([h, h]))[0] - h  # noqa: E731
        whole = lambda h: block.apply({"params": layer}, h, c, g)  # noqa: E731
        return replica.propagated(attend, feed, h0, v), replica.difference_jvp(whole, h0, v)

    for g in (0.0, 0.6):
        parts, exact = found(jnp.float32(g))
        near(v + sum(parts), exact, 1e-5)
        assert np.linalg.norm(parts.cross) > 1e-2 * np.linalg.norm(exact)


# ---------------------------------------------------------------- its weights


def test_import_from_the_command_line(run, tensors, tmp_path, capsys):
    half = {f"module.{name}": value.astype(np.float16) for name, value in tensors.items()}
    save_file(half, tmp_path / "dit.safetensors")
    words = ["import-dit", str(tmp_path / "dit.safetensors"), "--heads", "2", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert "3 layers x 24, images 4 x 6 x 6, 5 classes" in capsys.readouterr().out
    params, _ = export.read_params(tmp_path / "out")
    config = from_json(dit_image.DitImageConfig, json.loads((tmp_path / "out" / "config.json").read_text())["config"])
    found = apply(params, config, *(jnp.asarray(run[name]) for name in ("x", "t", "label")))
    near(found.eps, run["out"][:, :4], 1e-2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("blocks.1.attn.proj.bias"), "1 missing: blocks.1.attn.proj.bias"),
        (lambda t: t.update({"blocks.0.extra": np.zeros(2, np.float32)}), "1 unexpected: blocks.0.extra"),
        (lambda t: t.update(pos_embed=t["pos_embed"][:, ::-1].copy()), "positions is not the fixed one"),
        (lambda t: t.pop("x_embedder.proj.weight"), "no x_embedder.proj.weight of 4 axes"),
        (lambda t: t.update({"x_embedder.proj.bias": np.zeros(5, np.float32)}), r"x_embedder.proj.bias \(5,\) for"),
    ],
)
def test_what_is_no_dit_is_one_line_and_leaves_nothing(tensors, tmp_path, capsys, change, told):
    changed = dict(tensors)
    change(changed)
    save_file(changed, tmp_path / "dit.safetensors")
    words = ["import-dit", str(tmp_path / "dit.safetensors"), "--heads", "2", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=told):
        weights.from_dit(tmp_path / "dit.safetensors", 2)


def test_heads_are_asked_for_where_no_published_model_has_that_width(tensors, tmp_path):
    save_file(tensors, tmp_path / "dit.safetensors")
    with pytest.raises(InputError, match="give --heads"):
        weights.from_dit(tmp_path / "dit.safetensors")


def as_diffusers(tensors, layers=3):
    """The same weights as that library stores them: three matrices for one, and no table of positions."""
    tensors = {name: value for name, value in tensors.items() if name != "pos_embed"}
    found = {}
    renamed = {"attn.proj": "attn1.to_out.0", "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2"}
    renamed["adaLN_modulation.1"] = "norm1.linear"
    outside = {"x_embedder.proj": "pos_embed.proj", "final_layer.adaLN_modulation.1": "proj_out_1"}
    outside["final_layer.linear"] = "proj_out_2"
    for part in ("weight", "bias"):
        for ours, theirs in outside.items():
            found[f"{theirs}.{part}"] = tensors.pop(f"{ours}.{part}")
        embedding = {
            f"timestep_embedder.linear_{i + 1}.{part}": tensors.pop(f"t_embedder.mlp.{2 * i}.{part}") for i in (0, 1)
        }
        if part == "weight":
            embedding["class_embedder.embedding_table.weight"] = tensors.pop("y_embedder.embedding_table.weight")
        for i in range(layers):
            block = f"transformer_blocks.{i}"
            found |= {f"{block}.norm1.emb.{name}": value for name, value in embedding.items()}
            three = np.split(tensors.pop(f"blocks.{i}.attn.qkv.{part}"), 3)
            found |= {f"{block}.attn1.to_{which}.{part}": each for which, each in zip("qkv", three, strict=True)}
            for ours, theirs in renamed.items():
                found[f"{block}.{theirs}.{part}"] = tensors.pop(f"blocks.{i}.{ours}.{part}")
    assert not tensors
    return found


BLOCK = "transformer_blocks.1"
SAID = {"num_attention_heads": 2, "sample_size": 6, "activation_fn": "gelu-approximate", "norm_type": "ada_norm_zero"}


def folder(root, tensors, said):
    """A pipeline's folder; its parts lie side by side."""
    (root / "transformer").mkdir(parents=True)
    save_file(tensors, root / "transformer" / "diffusion_pytorch_model.safetensors")
    (root / "transformer" / "config.json").write_text(json.dumps(said))
    return root


def test_both_layouts_are_one_model(tensors, model, tmp_path):
    """Of values drawn at random, so that no tensor could stand for another."""
    rng = np.random.default_rng(0)
    drawn = {n: v if n == "pos_embed" else rng.normal(size=v.shape).astype(np.float32) for n, v in tensors.items()}
    save_file(drawn, tmp_path / "dit.safetensors")
    wanted = weights.from_dit(tmp_path / "dit.safetensors", 2)
    found = weights.from_dit(folder(tmp_path / "pipeline", as_diffusers(drawn), SAID))
    assert found.config == wanted.config == model.config
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)
    assert "10000^(-i/127)" in found.about["notes"][0]


@pytest.mark.parametrize(
    ("change", "said", "told"),
    [
        ({f"{BLOCK}.attn1.to_k.bias": None}, {}, f"1 missing: {BLOCK}.attn1.to_q|k|v.bias; 2 unexpected"),
        ({f"{BLOCK}.extra": np.zeros(2, np.float32)}, {}, f"1 unexpected: {BLOCK}.extra"),
        ({f"{BLOCK}.norm1.emb.timestep_embedder.linear_1.bias": np.ones(24, np.float32)}, {}, f"{BLOCK} embeds"),
        ({}, {"sample_size": None}, "no sample_size told"),
        ({}, {"activation_fn": "geglu"}, "its activation_fn is 'geglu'"),
        ({}, {"num_attention_heads": None}, "give --heads"),
    ],
)
def test_what_diffusers_stores_otherwise_is_refused(tensors, tmp_path, change, said, told):
    changed = {name: value for name, value in (as_diffusers(tensors) | change).items() if value is not None}
    with pytest.raises(InputError, match=re.escape(told)):
        weights.from_dit(folder(tmp_path, changed, {n: v for n, v in (SAID | said).items() if v is not None}))
