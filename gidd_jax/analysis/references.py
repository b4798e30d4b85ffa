"""What stands beside a metric: an oracle's value, a floor, a ceiling, a theory, a control that was measured with it."""

from collections.abc import Collection

_OWN = {
    "holding_loss": ("holding_floor",),
    "separation": ("separation_ceiling",),
    "precision": ("precision_ceiling",),
    "elbo": ("oracle_elbo", "entropy"),
    "sample_nll": ("entropy",),
    "corrected_nll": ("entropy",),
    **{
        f"knockout_{way}_{head}": (f"knockout_random_{head}",)
        for way in ("zero", "shuffle")
        for head in ("jump", "holding")
    },
    "auroc_branch": ("auroc_random",),
}
_BEFORE = ("oracle_", "control_", "stranger_")
_BEHIND = ("_floor", "_ceiling", "_theory", "_majority", "_bag_of_words", "_tf_idf", "_random")


def references(metric: str, measured: Collection[str]) -> list[str]:
    """Those of the ``measured`` metrics that the ``metric`` is read beside; of a binned one, by the same bins."""
    base, by, axis = metric.partition("/")
    named = (*_OWN.get(base, ()), *(f"{part}{base}" for part in _BEFORE), *(f"{base}{part}" for part in _BEHIND))
    return [name for name in dict.fromkeys(f"{name}{by}{axis}" for name in named) if name in measured]
