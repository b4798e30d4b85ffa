"""Closed forms: how well a holding head could do that knows the clean board and t. No head can do better.

Under uniform noise a resampled cell draws one of n digits, the true one included, and the label is "was resampled".
A cell that shows a wrong digit was resampled for certain; one that shows the true digit was with probability
s(t) = (t/n) / (1 - t + t/n). Under masked noise the mask gives the label away and every floor is trivial.
"""

import numpy as np

BINS = 10
NEAR_ZERO = 1e-6


def clamped_times(t_min: float, count: int = 200_000) -> np.ndarray:
    """Equally likely times, in order: t uniform on (0,1) and clamped below at ``t_min``, the posts' law."""
    return np.maximum((np.arange(count) + 0.5) / count, t_min)


def holding_floors(digits: int, p_uniform: float, t: np.ndarray, label: str) -> dict[str, np.ndarray | np.floating]:
    """Floors and ceilings of the holding head, overall (scalar) and by t bin ([10], name ending in "/t").

    holding_floor: BCE in nats; separation_ceiling, precision_ceiling, recall_ceiling: of the head that answers s(t).
    divergence_floor: least ``losses.holding_divergence``; divergence_from_t: of the best head that knows t alone;
    divergence_at_half: of a head that says 1/2 everywhere.
    ``t``: equally likely times in order. For n = 9 and ``clamped_times(1/81)`` the values over all t are .137 nats,
    .842, .989, .910 (with t uniform on (1/81, 1) instead of clamped: .139, .840, .989, .910). A label of "wrong" is
    visible to the oracle: floor 0, ceilings 1. Under mixed noise (0 < p_uniform < 1) cells that show the mask are
    certain as well.
    """
    shown = t * p_uniform / digits  # resampled, yet the true digit is shown
    hidden = 1 - t + shown  # the true digit is shown
    s = shown / hidden if label == "resampled" else np.zeros_like(t)
    entropy = -(s * np.log(np.where(s > 0, s, 1)) + (1 - s) * np.log(np.where(s < 1, 1 - s, 1)))
    positive = t if label == "resampled" else t - shown  # mass of cells labelled 1
    sure = 1 - hidden  # wrong cells: score 1, all labelled 1
    flagged = sure + hidden * (s > 0.5)
    hit = sure + hidden * s * (s > 0.5)
    everywhere = np.ones_like(t)
    sums = {
        "holding_floor": (hidden * entropy, everywhere),
        "divergence_floor": (hidden * _divergence(s), everywhere),
        "divergence_from_t": (_divergence(positive), everywhere),
        "divergence_at_half": (_divergence(positive, np.full_like(t, 0.5)), everywhere),
        "score_positive": (sure + hidden * s * s, positive),
        "score_negative": (hidden * (1 - s) * s, 1 - positive),
        "precision_ceiling": (hit, flagged),
        "recall_ceiling": (hit, positive),
    }
    floors: dict[str, np.ndarray | np.floating] = {}
    for suffix, parts in (("", 1), ("/t", BINS)):
        means = {name: _ratio(*(x.reshape(parts, -1).sum(1) for x in pair)) for name, pair in sums.items()}
        means["separation_ceiling"] = means.pop("score_positive") - means.pop("score_negative")
        floors |= {name + suffix: value if suffix else value[0] for name, value in means.items()}
    return floors


def _divergence(share: np.ndarray, score: np.ndarray | None = None) -> np.ndarray:
    """Mean of a/b - log(a/b) - 1 where a is 1 in ``share`` of the cells and 1e-6 else, at b = score or the best b."""
    mean = share + (1 - share) * NEAR_ZERO
    b = mean if score is None else score
    return mean / b - (1 - share) * np.log(NEAR_ZERO) + np.log(b) - 1


def _ratio(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return total / np.where(weight > 0, weight, np.nan)
