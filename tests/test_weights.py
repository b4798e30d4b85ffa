"""Published weights: files of tensors become our parameters, or one line says what is wrong and nothing is written."""

import json
import pathlib
import pickle
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from gidd_jax import cli, export, weights
from gidd_jax.config import from_json
from gidd_jax.errors import InputError
from gidd_jax.models import dit

GOLDEN = pathlib.Path(__file__).parent / "golden"
apply = jax.jit(dit.apply, static_argnames="config")


@pytest.fixture(scope="module")
def gidd():
    """Inputs, outputs and parameters of GIDD's transformer, run by its authors' code."""
    with np.load(GOLDEN / "gidd.npz", allow_pickle=False) as file:
        return {key.removeprefix("dit/"): file[key] for key in file if key.startswith("dit/")}


@pytest.fixture(scope="module")
def mdlm():
    """The same for MDLM's, run by a torch module written from its equations; logits at sigma = 0 and at sigma."""
    with np.load(GOLDEN / "mdlm_dit.npz", allow_pickle=False) as file:
        return dict(file)


def tensors_of(run, prefix):
    return {name.removeprefix(prefix): value for name, value in run.items() if name.startswith(prefix)}


def native(gidd):
    """A state dict as GIDD's trainer saves it: with the rotary tables and the (zero) bias on the input token."""
    angles = np.arange(16)[:, None] * 10_000.0 ** (-np.arange(4) / 4)[None, :]
    angles = np.concatenate([angles, angles], 1).astype(np.float32)
    turned = np.broadcast_to(angles[None, :, None, None], (1, 16, 3, 1, 8)).copy()
    turned[:, :, 2] = 0  # values are not turned
    tables = {"rotary_emb.cos_cached": np.cos(turned), "rotary_emb.sin_cached": np.sin(turned)}
    return tensors_of(gidd, "param/") | tables | {"logit_bias": np.zeros((1, 1, 1), np.float32)}


def hugging_face(folder, tensors, **settings):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def run(capsys, *words):
    status = cli.main(list(map(str, words)))
    told = capsys.readouterr()
    return status, told.out, told.err


def near(found, wanted, largest=2e-6):
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=largest * np.abs(wanted).max())


def logits_of(out, ids, t):
    """What the files an import left behind compute, read as any later user reads them."""
    params, _ = export.read_params(out)
    about = json.loads((out / "config.json").read_text())
    return apply(params, from_json(dit.DitConfig, about["config"]), jnp.asarray(ids), jnp.asarray(t)), about


# ---------------------------------------------------------------- from a checkpoint to logits


def test_gidd_of_hugging_face(gidd, tmp_path, capsys):
    said = {"vocab_size": 128, "num_attention_heads": 4, "p_uniform": 0.2, "t_eps": 1e-4}
    folder = hugging_face(tmp_path / "hf", tensors_of(gidd, "param/"), max_seq_len=16, **said)
    status, out, err = run(capsys, "import-gidd", folder, "--out", tmp_path / "out")
    assert (status, err) == (0, "") and "2 layers x 32, 128 tokens" in out and "v1.1.0" in out
    logits, about = logits_of(tmp_path / "out", gidd["in/ids"], gidd["in/t"])
    near(logits, gidd["out/logits"])
    assert about["noise"] == {"p_uniform": 0.2, "t_eps": 1e-4} and "v1.1.0" in about["notes"][0]
    assert about["config"]["max_length"] == 16


def test_gidd_as_its_trainer_saves_it(gidd, tmp_path, capsys):
    file = tmp_path / "model.safetensors"
    save_file({f"module._orig_mod.{name}": value for name, value in native(gidd).items()}, file)
    (tmp_path / "config.yaml").write_text("model:\n  n_heads: 4\n  p_uniform: 0.1\n")
    status, _, err = run(capsys, "import-gidd", file, "--out", tmp_path / "out")
    assert status == 2 and "nothing in it tells vocab_size; give --vocab-size" in err
    assert not (tmp_path / "out").exists()
    assert run(capsys, "import-gidd", file, "--vocab-size", 19, "--out", tmp_path / "out")[0] == 0
    logits, about = logits_of(tmp_path / "out", gidd["in/ids"], gidd["in/t"])
    near(logits, gidd["out/logits"])
    assert (about["config"]["vocab_size"], about["config"]["padded_vocab"], about["config"]["heads"]) == (19, 128, 4)


def test_mdlm_without_and_with_time(mdlm, tmp_path, capsys):
    tensors = tensors_of(mdlm, "tensor/")
    for time, wanted in ((False, "logits"), (True, "logits_of_sigma")):
        folder = hugging_face(tmp_path / "hf", tensors, vocab_size=21, model_length=10, time_conditioning=time)
        out = tmp_path / str(time)
        assert run(capsys, "import-mdlm", folder, "--out", out)[0] == 0
        logits, about = logits_of(out, mdlm["ids"], mdlm["sigma"])
        near(logits, mdlm[wanted])
        assert (about["config"]["time"], about["config"]["heads"]) == (time, int(mdlm["heads"]))


def test_mdlm_must_say_whether_it_saw_time(mdlm, tmp_path, capsys):
    file = tmp_path / "mdlm.safetensors"
    save_file(tensors_of(mdlm, "tensor/"), file)
    status, _, err = run(capsys, "import-mdlm", file, "--out", tmp_path / "out")
    assert status == 2 and "give --time-conditioning" in err
    assert run(capsys, "import-mdlm", file, "--no-time-conditioning", "--out", tmp_path / "out")[0] == 0
    near(logits_of(tmp_path / "out", mdlm["ids"], 0.7)[0], mdlm["logits"])


def test_shards_and_half_precision(mdlm, tmp_path):
    tensors = {name: value.astype(jnp.bfloat16) for name, value in tensors_of(mdlm, "tensor/").items()}
    halves = [dict(list(tensors.items())[part::2]) for part in (0, 1)]
    index = {}
    for number, half in enumerate(halves):
        save_file(half, tmp_path / f"model-{number}.safetensors")
        index |= dict.fromkeys(half, f"model-{number}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    found = weights.read(tmp_path)
    assert found.keys() == tensors.keys()
    params, config, _ = weights.from_mdlm(tmp_path, time_conditioning=False)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    near(apply(params, config, jnp.asarray(mdlm["ids"]), 0.0), mdlm["logits"], 0.02)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-1.safetensors: no such file"):
        weights.read(tmp_path)


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda t: t.pop("blocks.1.mlp.0.bias"), "1 missing: blocks.1.mlp.0.bias"),
        (lambda t: [t.pop(f"blocks.0.{n}.weight") for n in ("norm1", "norm2", "attn_qkv", "mlp.2")], "4 missing: "),
        (lambda t: t.update(extra=np.ones(2, np.float32)), "1 unexpected: extra"),
        (
            lambda t: t.update({"blocks.0.attn_out.weight": np.ones((32, 31), np.float32)}),
            "1 of another shape: blocks.0.attn_out.weight (32, 31) for (32, 32)",
        ),
        (
            lambda t: t.update({"output_layer.linear.bias": np.full(128, np.nan, np.float32)}),
            "1 not of finite real numbers: output_layer.linear.bias",
        ),
        (
            lambda t: t.update({"sigma_map.mlp.2.bias": np.zeros(16, np.int8)}),
            "1 not of finite real numbers: sigma_map.mlp.2.bias",
        ),
        (lambda t: t.pop("vocab_embed.embedding"), "no matrix vocab_embed.embedding in it"),
        (lambda t: t.update(logit_bias=np.ones((1, 1, 1), np.float32)), "adds a logit_bias"),
        (
            lambda t: t.update({"rotary_emb.cos_cached": np.cos(np.ones((1, 16, 3, 1, 8), np.float32))}),
            "rotary positions of another kind",
        ),
    ],
)
def test_a_checkpoint_of_another_architecture_is_one_line(gidd, tmp_path, capsys, spoil, told):
    tensors = native(gidd)
    spoil(tensors)
    folder = hugging_face(tmp_path / "hf", tensors, vocab_size=19)
    status, out, err = run(capsys, "import-gidd", folder, "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert told in err and str(folder) in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sizes_that_contradict_each_other_are_refused(gidd, tmp_path, capsys):
    folder = hugging_face(tmp_path / "hf", native(gidd), vocab_size=19, num_attention_heads=8)
    status, _, err = run(capsys, "import-gidd", folder, "--out", tmp_path / "out")
    assert status == 2 and "which heads? rotary says 4, settings says 8" in err
    folder = hugging_face(tmp_path / "hf", native(gidd), vocab_size=129)
    assert "narrower than the 129 tokens" in run(capsys, "import-gidd", folder, "--out", tmp_path / "out")[2]


def test_one_is_not_taken_for_the_other(gidd, mdlm, tmp_path, capsys):
    folder = hugging_face(tmp_path / "gidd", native(gidd), vocab_size=19, time_conditioning=False)
    assert "is it for import-gidd?" in run(capsys, "import-mdlm", folder, "--out", tmp_path / "out")[2]
    folder = hugging_face(tmp_path / "mdlm", tensors_of(mdlm, "tensor/"), vocab_size=21)
    assert run(capsys, "import-gidd", folder, "--out", tmp_path / "out")[0] == 2


def test_damaged_and_foreign_files_are_one_line(gidd, tmp_path, capsys):
    save_file(tensors_of(gidd, "param/"), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "text.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    told = {
        "cut.safetensors": "damaged or not safetensors",
        "text.safetensors": "damaged or not safetensors",
        "empty.safetensors": "damaged or not safetensors",
        "notes.txt": "not a checkpoint; give a .safetensors, .pt",
        "folder": "no checkpoint in this folder; looked for model.safetensors",
        "missing.pt": "no such file or folder",
    }
    for name, complaint in told.items():
        status, out, err = run(capsys, "import-gidd", tmp_path / name, "--out", tmp_path / "out")
        assert (status, out) == (2, "") and complaint in err and name in err and err.count("\n") == 1
    (tmp_path / "config.json").write_text("{")
    assert "config.json: not readable" in run(capsys, "import-gidd", tmp_path / "whole.safetensors", "--out", "x")[2]
    (tmp_path / "folder" / "model.safetensors.index.json").write_text("[]")
    assert "not the index of a checkpoint" in run(capsys, "import-gidd", tmp_path / "folder", "--out", "x")[2]
    assert not (tmp_path / "out").exists()


def test_the_directory_to_write_must_not_be_a_file(gidd, tmp_path, capsys):
    folder = hugging_face(tmp_path / "hf", native(gidd), vocab_size=19)
    (tmp_path / "out").write_text("mine")
    status, _, err = run(capsys, "import-gidd", folder, "--out", tmp_path / "out")
    assert status == 2 and "is a file; give a directory" in err
    assert (tmp_path / "out").read_text() == "mine"


# ---------------------------------------------------------------- torch files, through a stand-in for torch


class Tensor:
    """As much of a torch tensor as reading needs."""

    def __init__(self, value):
        self.value = np.asarray(value)

    def is_floating_point(self):
        return self.value.dtype.kind in "fV"

    def float(self):
        return Tensor(self.value.astype(np.float32))

    def numpy(self):
        if self.value.dtype == jnp.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.value


@pytest.fixture
def torch(monkeypatch):
    """A module ``torch`` whose ``load`` gives (or raises) what ``torch.holds`` is."""
    module = types.ModuleType("torch")

    def load(path, map_location, weights_only):
        assert (map_location, weights_only) == ("cpu", True)
        if isinstance(module.holds, Exception):
            raise module.holds
        return module.holds

    module.load, module.is_tensor = load, lambda value: isinstance(value, Tensor)
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"a zip of torch's")
    return path


@pytest.mark.parametrize("nest", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
def test_a_torch_file_is_its_state_dict(torch, file, nest):
    torch.holds = nest({"a": Tensor(np.ones(3, jnp.bfloat16)), "b": Tensor([1, 2]), "step": 7})
    found = weights.read(file.parent)
    assert {name: value.dtype for name, value in found.items()} == {"a": np.float32, "b": np.int64}
    np.testing.assert_array_equal(found["a"], 1)


def test_a_running_average_replaces_the_weights(torch, file):
    state = {"a": Tensor(np.zeros((2, 3))), "table": Tensor(np.zeros(4)), "b": Tensor(np.zeros(3))}
    average = [Tensor(np.full((2, 3), 5.0)), Tensor(np.full(3, 6.0))]
    torch.holds = {"state_dict": state, "ema": {"decay": 0.9999, "shadow_params": average}}
    found = weights.read(file)
    assert {name: value.flat[0] for name, value in found.items()} == {"a": 5, "table": 0, "b": 6}
    torch.holds["ema"] = {"a": Tensor([7.0]), "b": Tensor([8.0])}  # an average that names its tensors, as DiT's
    assert {name: value.item() for name, value in weights.read(file).items()} == {"a": 7, "b": 8}
    torch.holds["ema"] = {"shadow_params": average[::-1]}
    with pytest.raises(InputError, match="running averages do not fit"):
        weights.read(file)


@pytest.mark.parametrize(
    ("holds", "told"),
    [
        (pickle.UnpicklingError("Weights only load failed.\nLong advice."), "holds objects that could run code"),
        (RuntimeError("PytorchStreamReader failed reading zip archive"), "damaged or not a torch file (PytorchStream"),
        ([1, 2], "holds a list, no state dict"),
    ],
)
def test_a_torch_file_that_cannot_be_read_is_one_line(torch, file, capsys, holds, told):
    torch.holds = holds
    status, _, err = run(capsys, "import-gidd", file, "--out", file.parent / "out")
    assert status == 2 and told in err and str(file) in err and err.count("\n") == 1


def test_packages_that_are_not_there_are_named(monkeypatch, file, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    status, _, err = run(capsys, "import-gidd", file, "--out", "x")
    assert status == 2 and "pip install torch to read this file, or give a .safetensors file" in err
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    file = file.rename(file.with_suffix(".safetensors"))
    status, _, err = run(capsys, "import-gidd", file, "--out", "x")
    assert status == 2 and "pip install gidd-jax[import]" in err
