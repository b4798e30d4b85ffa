"""The race of attention kernels: who may run, who wins, and that the choice is recorded; cuDNN itself is a stand-in."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import cli, config, kernels, replica, sweep
from gidd_jax.errors import InputError
from gidd_jax.models import dit, dit_image, two_head
from gidd_jax.replica import attention
from gidd_jax.studies import language, phase, sudoku, syncgap

SHAPE = kernels.Shape(2, 2, 4, 8)
HALF = {"dtype": "bfloat16"}
SUDOKU = sudoku.Config(data="4x4", d_model=8, layers=1, heads=2, batch=2, width=3, **HALF)


def slow(x):
    """x, some time later."""

    def wait(x):
        time.sleep(0.02)
        return x

    return jax.pure_callback(wait, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")


@jax.custom_vjp
def unsteady(v):
    return v


draws = iter(range(1000))


def _drift(_, cotangent):
    add = jax.pure_callback(lambda: np.float32(next(draws)), jax.ShapeDtypeStruct((), jnp.float32))
    return (cotangent + add.astype(cotangent.dtype),)


unsteady.defvjp(lambda v: (v, None), _drift)


@jax.custom_vjp
def late(v):
    return v


late.defvjp(lambda v: (v, None), lambda _, cotangent: (slow(cotangent),))


def refuses(q, k, v):
    raise NotImplementedError("head_dim 8\nand more")


CASES = {
    "as the einsum, which is made slow": (attention, "cudnn", "times as fast"),
    "slower": (lambda q, k, v: attention(q, k, late(v)), "einsum", "times as fast"),
    "refuses": (refuses, "einsum", "refuses (head_dim 8)"),
    "unsteady": (lambda q, k, v: attention(q, k, unsteady(v)), "einsum", "not the same twice"),
    "wrong": (lambda q, k, v: attention(q, k, 1.1 * v), "einsum", "from float32"),
}


@pytest.mark.parametrize("case", CASES)
def test_cudnn_wins_where_it_runs_is_right_is_steady_and_is_faster(case, monkeypatch):
    rival, winner, why = CASES[case]
    ours = (lambda q, k, v: attention(q, k, late(v))) if winner == "cudnn" else attention
    monkeypatch.setattr(kernels, "KERNELS", {"einsum": ours, "cudnn": rival})
    verdict = kernels.raced(SHAPE, 2, jnp.dtype("bfloat16"))
    assert verdict.kernel == winner and why in verdict.reason


def test_the_race_is_of_as_many_rows_as_a_block_holds_and_memory_allows(monkeypatch, capsys):
    raced = []
    monkeypatch.setattr(kernels, "raced", lambda *race: raced.append(race) or kernels.Verdict("cudnn", "it is"))
    settled = kernels.settled(SUDOKU, lambda: SHAPE, "gpu")
    assert settled.attention_kernel == "cudnn" and "attention by cudnn: it is" in capsys.readouterr().err
    kernels.settled(SUDOKU, lambda: kernels.Shape(8, 4, 1024, 64), "gpu")
    assert raced == [
        (SHAPE, 3, jnp.dtype("bfloat16")),
        ((8, 4, 1024, 64), 2, jnp.dtype("bfloat16")),
    ]


@pytest.mark.parametrize("changed", [{"dtype": "float32"}, {"dropout": 0.1}, {"attention_kernel": "einsum"}])
def test_nothing_is_raced_where_cudnn_may_not_run_or_the_user_has_chosen(changed, monkeypatch):
    monkeypatch.setattr(kernels, "raced", None)
    config = sudoku.Config(**{"data": "4x4", "dtype": "bfloat16"} | changed)
    assert kernels.settled(config, dict, "gpu") is config
    assert kernels.settled(SUDOKU, dict, "cpu") is SUDOKU


@pytest.mark.parametrize("changed", [{"dtype": "float32"}, {"dropout": 0.1}])
def test_cudnn_is_refused_where_it_cannot_be(changed):
    with pytest.raises(InputError, match="--attention-kernel cudnn: needs --dtype bfloat16 and no dropout"):
        sudoku.Config(**{"data": "4x4", "dtype": "bfloat16", "attention_kernel": "cudnn"} | changed)


def test_a_sweep_records_the_winner_and_goes_on_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "settled", lambda config, shape, platform: config.but_raced(shape))
    asked = []

    def race(self, shape):
        asked.append(shape())
        return sudoku.dataclasses.replace(self, attention_kernel="cudnn")

    monkeypatch.setattr(sudoku.Config, "but_raced", race, raising=False)
    one = {"data": "4x4", "d_model": 8, "layers": 1, "heads": 2, "batch": 2, "steps": 2, "decode_boards": 1}
    settings = sudoku.Config(**one, **HALF, eval_boards=2, decode=(16,))
    for _ in range(2):
        sweep.run(sudoku, [(settings, sweep.grid(sudoku, seed=0))], tmp_path / "run")
        (group,) = sweep.ledger.read(tmp_path / "run")["groups"]
        assert group["config"]["attention_kernel"] == "cudnn"
    assert asked == [kernels.Shape(2 * 2, 2, 16, 4)]


def test_a_sweep_from_before_the_race_goes_on_by_the_einsum():
    recorded = config.to_json(SUDOKU)
    recorded.pop("attention_kernel")
    assert config.resolved(SUDOKU, recorded, "gpu").attention_kernel == "auto"


def test_shapes_are_those_of_a_step():
    text = {"vocabulary": np.zeros((5, 0))}
    for study in (language, phase):
        assert study.attention_shape(study.Config(batch=3, length=7, d_model=32, heads=2), text) == (3, 2, 7, 16)
    assert syncgap.attention_shape(syncgap.Config(batch=3, d_model=32, heads=2), {}) == (3, 2, 16, 16)
    assert sudoku.attention_shape(SUDOKU, {"question": np.zeros((1, 16))}) == (4, 2, 16, 4)


# ---------------------------------------------------------------- the kernel in the models


def models(kernel):
    """Function -> its output, of every model that may use a kernel, in half precision."""
    half = {"dtype": "bfloat16", "attention_kernel": kernel}
    ids, z = jnp.arange(12).reshape(2, 6) % 5, jnp.arange(32).reshape(2, 16) % 5
    text = dit.DitConfig(5, 2, 16, 2, cond=4, max_length=6, **half)
    boards = two_head.TwoHeadConfig(16, 4, 2, 2, d_model=16, layers=1, heads=2, d_ff=8, **half)
    pictures = dit_image.DitImageConfig(4, classes=2, layers=1, d_model=8, heads=2, **half)
    x, dials = jax.random.normal(jax.random.key(1), (2, 3, 1, 4, 4)), two_head.Couplings(attention=0.5)
    yield jax.jit(lambda key: dit.apply(dit.init(key, text), text, ids, 0.5))(jax.random.key(0))
    yield jax.jit(lambda key: two_head.apply(two_head.init(key, boards), boards, z, z > 2, jnp.ones(2), dials).jump)(
        jax.random.key(0)
    )
    yield jax.jit(lambda key: dit_image.apply(dit_image.init(key, pictures), pictures, x, 5, 0, 0.3).eps)(
        jax.random.key(0)
    )


def test_without_a_gpu_every_kernel_is_the_einsum_to_the_bit():
    for first, second in zip(models("einsum"), models("cudnn"), strict=True):
        assert (first == second).all()


def test_on_a_gpu_the_models_call_cudnn_with_cells_before_heads(monkeypatch):
    calls = []

    def standing_in(q, k, v, implementation, query_seq_lengths=None, key_value_seq_lengths=None):
        calls.append((q.shape, q.dtype, implementation))
        return attention(*(x.swapaxes(1, 2) for x in (q, k, v))).swapaxes(1, 2)

    expected = list(models("einsum"))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", standing_in)
    for first, second in zip(expected, models("cudnn"), strict=True):
        np.testing.assert_allclose(np.float32(first), np.float32(second), atol=0.02)
    assert {dtype for _, dtype, _ in calls} == {jnp.dtype("bfloat16")} and {how for *_, how in calls} == {"cudnn"}
    # [B,S,H,Dh]: text of 2, boards of 2 in two towers, pictures of 3 in two replicas, the last two coupled.
    assert {shape for shape, *_ in calls} == {(2, 6, 2, 8), (4, 16, 2, 8), (6, 4, 2, 4)}


def test_an_odd_number_of_cells_gets_one_more_that_nobody_reads(monkeypatch):
    def standing_in(q, k, v, implementation, query_seq_lengths, key_value_seq_lengths):
        assert q.shape[1] % 2 == k.shape[1] % 2 == 0 and query_seq_lengths.tolist() == [5] * 6
        read = jnp.arange(k.shape[1])[None, None, None] < key_value_seq_lengths[:, None, None, None]
        mask = jnp.broadcast_to(read, (6, 2, q.shape[1], k.shape[1]))
        return attention(*(x.swapaxes(1, 2) for x in (q, k, v)), mask=mask).swapaxes(1, 2)

    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 3, 2, 5, 8), jnp.bfloat16)
    k, v = k[..., :3, :], v[..., :3, :]
    expected = np.float32(attention(q, k, v))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", standing_in)
    np.testing.assert_allclose(np.float32(replica.fused(q, k, v)), expected, atol=0.02)


@pytest.mark.parametrize("S", [16, 81])
def test_cudnn_lowers_for_cuda_under_rows_of_replicas(S, monkeypatch):
    """What a step differentiates, with R replicas vmapped: the custom calls of cuDNN, forward and backward."""
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda *_: True)
    q = jax.ShapeDtypeStruct((3, 2, 4, 2, S, 32), jnp.bfloat16)  # rows, towers, boards, heads, cells, width

    def total(q, k, v):
        out = replica.paired_attention(q, k, v, 0.5, replica.fused).astype(jnp.float32)
        return (out**2).sum()

    traced = jax.jit(jax.vmap(jax.grad(total, (0, 1, 2)))).trace(q, q, q)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__cudnn$fmhaSoftmaxBackward") == text.count("__cudnn$fmhaSoftmax(") == 2


def test_the_command_knows_the_flag(capsys):
    assert cli.main(["sweep", "sudoku", "--data", "4x4", "--attention-kernel", "cudnn"]) == 2
    assert "--attention-kernel cudnn: needs --dtype bfloat16" in capsys.readouterr().err
