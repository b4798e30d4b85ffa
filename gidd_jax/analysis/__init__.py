"""From the metrics table to statistics: tables in, tables and intervals out, no JAX."""

from gidd_jax.analysis.derive import (
    benefit,
    final,
    holding_excess,
    regroup,
    require_dial,
    settings,
    swept,
    untrained,
    with_derived,
)
from gidd_jax.analysis.intervals import Interval, bootstrap_interval, intervals_by, mean_interval, paired_interval
from gidd_jax.analysis.summary import (
    LABELS,
    among,
    axis_label,
    describe_replicas,
    format_summary,
    learning_visible,
    metric_name,
    metric_unit,
    summary,
)

__all__ = [
    "LABELS",
    "Interval",
    "among",
    "axis_label",
    "benefit",
    "bootstrap_interval",
    "describe_replicas",
    "final",
    "format_summary",
    "holding_excess",
    "intervals_by",
    "learning_visible",
    "mean_interval",
    "metric_name",
    "metric_unit",
    "paired_interval",
    "regroup",
    "require_dial",
    "settings",
    "summary",
    "swept",
    "untrained",
    "with_derived",
]
