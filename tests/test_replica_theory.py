"""The linearised theory of two replicas: golden numbers in float64, exact identities, bounds that hold."""

import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import diffusion, replica
from gidd_jax.errors import InputError

GOLDEN = pathlib.Path(__file__).parent / "golden" / "sync_replica.npz"
LINEAR = ("Q0", "K0", "V0", "dQ", "dK", "dV")

linear_split, channels, bounds, mixture_score = map(
    jax.jit, (replica.linear_split, replica.channels, replica.bounds, replica.mixture_score)
)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def small(seed, *shape, scale=1.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale)


# ---------------------------------------------------------------- attention, linearised


def test_both_terms_of_the_split_and_their_sum_is_the_derivative(golden):
    arrays = [golden[f"lin_{name}"] for name in LINEAR]
    for i, g in enumerate(golden["lin_g"]):
        routing, pattern = linear_split(*arrays, g)
        np.testing.assert_allclose(routing, golden["lin_routing"][i], atol=1e-14)
        np.testing.assert_allclose(pattern, golden["lin_pattern"][i], atol=1e-14)
        np.testing.assert_allclose(routing + pattern, golden["lin_fd"][i], atol=1e-8)
        # The same sum by what moves; the queries' part carries no g.
        by = channels(*arrays, g)
        rho = (1 - g) / (1 + g)
        np.testing.assert_allclose(by.key, 2 * rho * golden["lin_JK_V0"], atol=1e-14)
        np.testing.assert_allclose(by.query, 2 * golden["lin_JQ_V0"], atol=1e-14)
        np.testing.assert_allclose(sum(by), routing + pattern, atol=1e-14)


def test_at_full_coupling_only_queries_tell_the_replicas_apart():
    arrays = [small(i, 7, 3, scale=2.0) for i in range(6)]
    value, key, query = channels(*arrays, 1.0)
    assert not np.any(value) and not np.any(key) and np.abs(query).max() > 0.1


def test_the_split_errs_in_third_order_heads_and_couplings_in_the_batch():
    q0, k0, v0, dq, dk, dv = (small(10 + i, 3, 2, 6, 4) for i in range(6))
    g = jnp.asarray([0.0, 0.4, 1.0])

    @jax.jit
    def off(size):
        shifted = [(x + size * d, x - size * d) for x, d in ((q0, dq), (k0, dk), (v0, dv))]
        a, b = replica.coupled_attention(*(x[0] for x in shifted), *(x[1] for x in shifted), g)
        routing, pattern = linear_split(q0, k0, v0, size * dq, size * dk, size * dv, g)
        return jnp.abs(a - b - routing - pattern).max(axis=(1, 2, 3))

    np.testing.assert_allclose(off(2e-2) / off(1e-2), 8.0, rtol=0.05)


def block_parts(width=6, seed=20):
    """A block of one head with weights drawn once: what coupled attention adds, and what the MLP adds."""
    q, k, v, up, down = (small(seed + i, width, width, scale=0.6) for i in range(5))

    def attend(pair, g):
        centred = pair - pair.mean(-1, keepdims=True)
        return 0.7 * replica.paired_attention(centred @ q, centred @ k, centred @ v, g)

    return attend, lambda x: 0.8 * jnp.tanh(x @ up) @ down


def test_the_paths_of_a_block_add_up_to_its_derivative():
    attend, feed = block_parts()
    h0, v = small(30, 5, 6), small(31, 5, 6)

    @jax.jit
    def found(g):
        def block(pair):
            middle = pair + attend(pair, g)
            return middle + feed(middle)

        parts = replica.propagated(lambda pair: attend(pair, g), feed, h0, v)
        step = 1e-5
        a, b = block(jnp.stack([h0 + step * v / math.sqrt(2), h0 - step * v / math.sqrt(2)]))
        return parts, replica.difference_jvp(block, h0, v), (a - b) / math.sqrt(2) / step

    for g in (0.0, 0.3, 1.0):
        parts, exact, by_difference = found(g)
        np.testing.assert_allclose(v + sum(parts), exact, atol=1e-12)
        np.testing.assert_allclose(by_difference, exact, atol=1e-8)
        # What the paper drops is no rounding error.
        assert np.linalg.norm(parts.cross) > 0.05 * np.linalg.norm(exact)


# ---------------------------------------------------------------- Appendix B


def test_bounds_of_appendix_b(golden):
    weights = golden["lin_A0"]
    q0, k0, _, dq, dk, _ = (golden[f"lin_{name}"] for name in LINEAR)
    logits = (dq @ k0.T + q0 @ dk.T) / math.sqrt(q0.shape[1])
    plain = bounds(weights, logits, golden["lin_V0"], golden["lin_dV"])
    np.testing.assert_allclose(plain.width, golden["appB_Neff"], rtol=1e-12)
    np.testing.assert_allclose(plain.pattern, golden["appB_lhs99"], rtol=1e-12)
    np.testing.assert_allclose(plain.pattern_bound, golden["appB_rhs99"], rtol=1e-12)
    even = bounds(weights, logits, golden["appB_Vc"], golden["appB_dVc"])
    found = (even.uneven_v0, even.uneven_dv, even.expansion, even.ratio, even.ratio_bound)
    for value, name in zip(found, ("eps_V", "eps_dV", "lambda_perp", "ratio105", "rhs105"), strict=True):
        np.testing.assert_allclose(value, golden[f"appB_{name}"], rtol=1e-12)


def test_identities_and_bounds_hold_for_sharp_and_flat_attention():
    for seed, scale in enumerate((0.1, 1.0, 6.0)):
        logits, change = small(seed, 4, 9, 9, scale=scale), small(50 + seed, 4, 9, 9)
        weights = jax.nn.softmax(logits, axis=-1)
        v0, dv = small(60 + seed, 4, 9, 5), small(70 + seed, 4, 9, 5)
        changed = replica.softmax_tangent(weights, change)
        np.testing.assert_allclose(changed.sum(-1), 0, atol=1e-14)
        centred = v0 - v0.mean(-2, keepdims=True)
        np.testing.assert_allclose(changed @ v0, changed @ centred, atol=1e-13)
        even = jnp.broadcast_to(dv.mean(-2, keepdims=True), dv.shape)
        np.testing.assert_allclose(weights @ dv, even + weights @ (dv - even), atol=1e-13)
        found = bounds(weights, change, v0, dv)
        assert (found.pattern <= found.pattern_sharp).all() and (found.pattern_sharp <= found.pattern_bound).all()
        # A constant added to a row of logits changes no weight, nor the sharper bound.
        moved = bounds(weights, change + 50.0, v0, dv)
        np.testing.assert_allclose(moved.pattern_sharp, found.pattern_sharp, rtol=1e-9)
        assert (moved.pattern_bound > 2 * found.pattern_bound).all()


@pytest.mark.slow
def test_where_the_difference_is_uneven_the_ratio_has_no_bound():
    weights = jax.nn.softmax(small(1, 6, 6, scale=4.0), axis=-1)
    dv = small(2, 6, 3)
    uneven = bounds(weights, small(3, 6, 6), small(4, 6, 3), dv - dv.mean(0, keepdims=True) * 0.9)
    assert uneven.expansion * uneven.uneven_dv > 1 and np.isnan(uneven.ratio_bound)
    even = bounds(weights, 0.1 * small(3, 6, 6), small(4, 6, 3), 1.0 + 0.01 * dv)
    assert even.ratio <= even.ratio_bound


# ---------------------------------------------------------------- mixture, gain, branches


def test_mixture_score_is_the_gradient_of_its_density(golden):
    m, C = golden["mf_m"], golden["mf_C"]
    np.testing.assert_allclose(mixture_score(golden["mf_h"], m, C), golden["mf_score"], atol=1e-12)
    np.testing.assert_allclose(replica.effective_precision(m, C), golden["mf_Lambda_eff"], atol=1e-12)

    def log_density(h):
        quadratic = lambda x: -0.5 * x @ jnp.linalg.solve(C, x)  # noqa: E731
        return jnp.logaddexp(quadratic(h - m), quadratic(h + m))

    h = jnp.asarray(golden["mf_h"][0])
    gradient, score, slope = jax.jit(
        lambda h: (
            jax.grad(log_density)(h),
            replica.mixture_score(h, m, C),
            jax.jacobian(lambda h: replica.mixture_score(h, m, C))(0 * h),
        )
    )(h)
    np.testing.assert_allclose(gradient, score, atol=1e-12)
    np.testing.assert_allclose(-slope, golden["mf_Lambda_eff"], atol=1e-12)


def test_branches_solve_their_equation(golden):
    kappa = jnp.asarray(golden["mf_kappa"])
    branches = jax.jit(replica.mean_field)
    assert branches(jnp.inf) == jnp.inf and jnp.isnan(branches(jnp.nan))
    u = branches(kappa)
    np.testing.assert_allclose(u, golden["mf_u"], rtol=1e-10, atol=1e-12)
    many = 1 + jnp.geomspace(1e-8, 1e3, 200)
    u = branches(many)
    np.testing.assert_allclose(u, many * jnp.tanh(u), rtol=1e-12)
    assert (u > 0).all() and (u <= many).all() and (jnp.diff(u) > 0).all()
    np.testing.assert_allclose(u[0], math.sqrt(3e-8), rtol=1e-4)
    assert np.isnan(branches(jnp.full(10, jnp.nan))).all()


def test_signal_to_noise_of_two_modes(golden):
    m, c, gamma, feed = golden["snr_par_m_c_gamma_lmlp"]
    eta = replica.mode_gain(golden["snr_g"][:, None], golden["snr_chi"], golden["snr_pi"], feed)
    np.testing.assert_allclose(eta, golden["snr_eta"], rtol=1e-14)
    snr, kappa, u = jax.jit(replica.speciation)(m, c, gamma, eta)
    np.testing.assert_allclose(snr, golden["snr_SNR"], rtol=1e-13)
    np.testing.assert_allclose(kappa, golden["snr_kappa"], rtol=1e-13)
    np.testing.assert_allclose(u, kappa * jnp.tanh(u), rtol=1e-13)
    routed = replica.mode_gain(golden["snr_g"][:, None], golden["snr_chi"], 0.0, feed)
    coarse, fine = replica.speciation(m, c, gamma, routed).snr.T
    np.testing.assert_allclose(coarse - fine, golden["snr_routing_only_diff"], atol=1e-13)
    # The gap is rho times a factor (66), and with a weight path it does not close at g = 1.
    (chi_coarse, chi_fine), mu = golden["snr_chi"], 1 / c
    rho = (1 - golden["snr_g"]) / (1 + golden["snr_g"])
    left = gamma * mu - feed
    exact = (m * mu) ** 2 * rho * (chi_coarse - chi_fine) / ((left - rho * chi_coarse) * (left - rho * chi_fine))
    np.testing.assert_allclose(coarse - fine, exact, atol=1e-13)
    assert snr[-1, 0] - snr[-1, 1] > 0.01


def test_the_theory_says_when_it_says_nothing():
    c, gamma = 0.5, 0.2
    eta = jnp.asarray([1.0, 1.39, 1.41, 1.5])
    found = jax.jit(replica.speciation)(1.0, c, gamma, eta)
    np.testing.assert_array_equal(found.valid, [True, True, False, False])
    for values in found:
        np.testing.assert_array_equal(np.isfinite(values), found.valid)


def test_the_step_of_speciation_and_the_gap():
    kappa = jnp.asarray([[0.2, 0.6, 1.4, 3.0], [0.1, 0.2, 0.5, 0.9], [1.2, 1.3, 1.4, 1.5], [0.5, jnp.nan, 2.0, 3.0]])
    step, valid = jax.jit(replica.speciation_step)(kappa)
    np.testing.assert_allclose(step, [1.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(valid, [True, False, False, False])
    gap = replica.speciation_gap(kappa[0], jnp.asarray([0.0, 0.1, 0.2, 1.0]))
    assert gap.valid and gap.step == pytest.approx(1.5)
    assert not replica.speciation_gap(kappa[0], kappa[1]).valid


# ---------------------------------------------------------------- pairs of images


def test_pairs_start_correlated_and_normal(golden):
    z, delta, sigma = golden["init_zT"], golden["init_delta"], golden["init_sigma"]
    a, b = replica.initial_pair(z, delta, sigma)
    np.testing.assert_allclose(a, golden["init_A"], atol=1e-14)
    np.testing.assert_allclose(b, golden["init_B"], atol=1e-14)
    np.testing.assert_allclose((a - b) / math.sqrt(2), golden["init_v"], atol=1e-14)
    np.testing.assert_allclose(replica.pair_correlation(sigma), golden["init_corr"], rtol=1e-14)
    for sigma in (0.0, 1.0):
        one, other = replica.initial_pair(small(0, 40_000), small(1, 40_000), sigma)
        # Correlations of 40,000 pairs: 4 standard errors of 1/200.
        assert abs(np.corrcoef(one, other)[0, 1] - float(replica.pair_correlation(sigma))) < 0.02
        assert abs(np.std(one) - 1) < 0.02
    assert replica.pair_correlation(1) == 0


@pytest.mark.parametrize("case", ["cf0", "cf1", "cf2"])
def test_discrepancies_at_two_scales(golden, case):
    a, b, pool = (golden[f"{case}_{name}"] for name in ("xA", "xB", "pool"))
    np.testing.assert_allclose(replica.pooled(a, int(pool)), golden[f"{case}_PA"], atol=1e-14)
    low, high = replica.scale_discrepancy(a, b, pool)
    np.testing.assert_allclose(low, golden[f"{case}_dlow"], rtol=1e-12)
    np.testing.assert_allclose(high, golden[f"{case}_dhigh"], rtol=1e-12)


def test_enlarging_is_bilinear_and_uneven_images_are_served():
    x = small(5, 2, 1, 3, 5)
    wanted = jax.image.resize(x, (2, 1, 9, 11), "bilinear")
    np.testing.assert_allclose(replica.enlarged(x, 9, 11), wanted, atol=1e-13)
    flat = jnp.full((1, 1, 7, 9), 3.0)
    low, high = replica.scale_discrepancy(flat, jnp.zeros_like(flat), 4)
    assert low[0] == pytest.approx(9 * 16) and high[0] == pytest.approx(0, abs=1e-20)
    with pytest.raises(InputError, match="pool 0"):
        replica.scale_discrepancy(flat, flat, 0)


def test_a_restoring_force_draws_the_pair_together():
    a, b = small(6, 3, 4), small(7, 3, 4)
    one, other = replica.restore(a, b, jnp.asarray([0.0, 0.1, 0.5]))
    np.testing.assert_allclose(one + other, a + b, atol=1e-14)
    np.testing.assert_allclose(one - other, (a - b) * np.array([[1.0], [0.8], [0.0]]), atol=1e-14)


# ---------------------------------------------------------------- diffusion


def test_respacing_is_that_of_dit(golden):
    timesteps = diffusion.respaced("100")
    np.testing.assert_array_equal(timesteps, golden["ddim_timesteps"])
    np.testing.assert_allclose(diffusion.linear_abar()[timesteps], golden["ddim_abar"], rtol=1e-13)
    np.testing.assert_array_equal(diffusion.respaced("ddim100"), np.arange(0, 1000, 10))
    np.testing.assert_array_equal(diffusion.respaced("2,3", 11), [0, 5, 6, 8, 10])
    np.testing.assert_array_equal(diffusion.respaced("1000"), np.arange(1000))
    for wrong in ("ddim999", "1001", "0", "ten"):
        with pytest.raises(InputError):
            diffusion.respaced(wrong)


def test_ddim_steps_back(golden):
    abar = golden["ddim_abar"]
    then = np.concatenate([[1.0], abar[:-1]])
    arrays = [golden[f"ddim_{name}"] for name in ("x", "eps", "noise")]
    found = jax.jit(diffusion.ddim_step)(*arrays, abar, then, golden["ddim_eta"])
    np.testing.assert_allclose(found, golden["ddim_next"], rtol=1e-12, atol=1e-12)
    one = replica.ddim_step(*(array[40] for array in arrays), abar[40], abar[39], 1.0)
    np.testing.assert_allclose(one, golden["ddim_next"][40], rtol=1e-12)
    # With the true noise and eta = 0 the path is that of one clean point.
    x0, eps = small(1, 6), small(2, 6)
    back = diffusion.ddim_step(diffusion.noised(x0, eps, 0.3), eps, eps, 0.3, 0.7, 0)
    np.testing.assert_allclose(back, diffusion.noised(x0, eps, 0.7), atol=1e-13)


@pytest.mark.slow
def test_ddpm_and_ddim_of_eta_one_agree_and_the_learned_variance_spans_both_ends():
    x, eps, noise = small(1, 5), small(2, 5), small(3, 5)
    now, then = 0.4, 0.55
    np.testing.assert_allclose(
        diffusion.ddpm_step(x, eps, noise, now, then), diffusion.ddim_step(x, eps, noise, now, then, 1.0), atol=1e-13
    )
    mean = diffusion.ddpm_step(x, eps, 0 * noise, now, then)
    widest = (diffusion.ddpm_step(x, eps, noise, now, then, jnp.ones(5)) - mean) / noise
    np.testing.assert_allclose(widest, math.sqrt(1 - now / then), rtol=1e-12)
    last = diffusion.ddpm_step(x, eps, noise, now, 1.0)
    np.testing.assert_allclose(last, diffusion.clean(x, eps, now), atol=1e-13)


@pytest.mark.slow
def test_ancestral_steps_keep_the_marginal():
    """Of data N(0, 1) the exact eps is sqrt(1 - abar) x, and every x_t is N(0, 1): 4 standard errors of a variance."""
    abar = diffusion.linear_abar()[diffusion.respaced("20")]
    x = small(4, 20_000)
    step = jax.jit(lambda x, noise, now, then: diffusion.ddim_step(x, jnp.sqrt(1 - now) * x, noise, now, then, 1.0))
    for i in range(19, 0, -1):
        x = step(x, small(100 + i, 20_000), abar[i], abar[i - 1])
    # Discretisation takes away what the posterior mean leaves out: the last variance is known in closed form.
    variance = 1.0
    for i in range(19, 0, -1):
        now, then = abar[i], abar[i - 1]
        sigma2 = (1 - then) / (1 - now) * (1 - now / then)
        slope = math.sqrt(then * now) + math.sqrt(max(1 - then - sigma2, 0)) * math.sqrt(1 - now)
        variance = slope**2 * variance + sigma2
    assert abs(float(x.var()) / variance - 1) < 4 * math.sqrt(2 / 20_000)
