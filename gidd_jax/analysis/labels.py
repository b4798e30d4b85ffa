"""What a reader calls a metric, and its unit."""

# metric -> (name, unit). A metric "of" a sampler is found under its name before the "@", one by bins before the "/".
LABELS = {
    "alive": ("alive", "0 or 1"),
    "loss": ("loss", "nats"),
    "gradient_norm": ("gradient norm", "nats per unit weight"),
    # Sudoku: two heads.
    "jump_loss": ("jump loss", "nats per cell"),
    "jump_accuracy": ("jump accuracy", "fraction"),
    "holding_loss": ("holding loss", "nats per cell"),
    "holding_excess": ("holding loss − floor", "nats per cell"),
    "holding_floor": ("holding loss floor", "nats per cell"),
    "holding_divergence": ("Itakura-Saito of 1, 1e-6", "nats per cell"),
    "interpolating_divergence": ("Itakura-Saito of both heads", "nats per cell"),
    "divergence_floor": ("floor of Itakura-Saito of 1, 1e-6", "nats per cell"),
    "divergence_from_t": ("Itakura-Saito of a head that knows t", "nats per cell"),
    "divergence_at_half": ("Itakura-Saito of a score of 1/2", "nats per cell"),
    "score_positive": ("score of resampled cells", "probability"),
    "score_negative": ("score of other cells", "probability"),
    "separation": ("separation", "probability"),
    "precision": ("precision", "fraction"),
    "recall": ("recall", "fraction"),
    "cell_accuracy": ("cells right", "fraction"),
    "puzzle_accuracy": ("boards solved", "fraction"),
    "violations": ("violations", "per board"),
    "model_calls": ("model calls", "per board"),
    "benefit_jump": ("benefit to jump", "nats per cell"),
    "benefit_holding": ("benefit to holding", "nats per cell"),
    "knockout_zero_jump": ("knock-out zero, jump", "nats per cell"),
    "knockout_zero_holding": ("knock-out zero, holding", "nats per cell"),
    "knockout_shuffle_jump": ("knock-out shuffle, jump", "nats per cell"),
    "knockout_shuffle_holding": ("knock-out shuffle, holding", "nats per cell"),
    "knockout_random_jump": ("as large a random change, jump", "nats per cell"),
    "knockout_random_holding": ("as large a random change, holding", "nats per cell"),
    "auroc_branch": ("AUROC, wrong branch", "probability"),
    "auroc_random": ("AUROC, random cells wrong", "probability"),
    "gradient_cosine": ("gradient cosine", "−1 to 1"),
    "tower_cka": ("tower CKA", "0 to 1"),
    # Text: bounds on -log p, samples.
    "elbo": ("bound", "nats per token"),
    "elbo_error": ("standard error of the bound", "nats per token"),
    "oracle_elbo": ("bound of the best model", "nats per token"),
    "kl": ("KL term of the bound", "nats per token"),
    "is": ("Itakura-Saito term of the bound", "nats per token"),
    "kl_loss": ("KL term of the loss", "nats per token"),
    "is_loss": ("Itakura-Saito term of the loss", "nats per token"),
    "entropy": ("entropy of the source", "nats per token"),
    "excess": ("bound − best model's", "nats per token"),
    "bits_per_character": ("bits per character", "bits"),
    "sample_nll": ("samples under the source", "nats per token"),
    "corrected_nll": ("corrected samples", "nats per token"),
    "sample_entropy": ("token entropy of a sample", "nats"),
    "corrected_entropy": ("token entropy, corrected", "nats"),
    "corrected_share": ("tokens corrected", "fraction"),
    # Phase core.
    "ece": ("calibration error of R", "probability"),
    "core_loss": ("R as a probability of being right", "nats per token"),
    "r": ("order parameter R", "0 to 1"),
    "r_spread": ("variance of a sequence's R", "0 to 1/4"),
    "r_spread_left": ("the same, share masked known", "0 to 1/4"),
    "right": ("guess right", "fraction"),
    "confidence": ("R as told", "0 to 1"),
    "modulation_shift": ("KL between R = .3 and .7", "nats per token"),
    "arm_nll": ("samples under the source", "nats per token"),
    "arm_sample_entropy": ("token entropy of a sample", "nats"),
    "arm_guess_entropy": ("entropy of the guess at a mask", "nats per token"),
    "arm_masked": ("cells still masked, mean over steps", "fraction"),
    "arm_r": ("order parameter R, mean over steps", "0 to 1"),
    # Concepts and pairs.
    "bound": ("bound at all maskings", "nats per token"),
    "nats": ("own task", "nats per token"),
    "smoothed": ("own task, labels smoothed", "nats per token"),
    "objective": ("own task, weighed", "nats per token"),
    "regularisers": ("regularisers, weighed", "nats"),
    "accuracy": ("tokens right, own task", "fraction"),
    "zeroed": ("knock-out zero, concepts", "nats per token"),
    "shuffled": ("knock-out shuffle, concepts", "nats per token"),
    "leak": ("gradient from other cells", "fraction"),
    "concept_gradient": ("gradient that reaches a concept", "nats per unit length"),
    "effective_rank": ("effective rank", "concepts"),
    "effective_rank_centred": ("effective rank, centred", "concepts"),
    "entropy_rank": ("entropy rank", "concepts"),
    "dims_95": ("directions of 95 % of the variance", "concepts"),
    "rankme": ("RankMe", "dimensions"),
    "rankme_within": ("RankMe within a text", "concepts"),
    "rankme_within_centred": ("RankMe within a text, centred", "concepts"),
    "participation_ratio": ("participation ratio", "dimensions"),
    "anisotropy": ("anisotropy", "0 to 1"),
    "slot_cosine": ("cosine of concepts", "0 to 1"),
    "slot_cosine_max": ("cosine of concepts, largest", "0 to 1"),
    "slot_std": ("standard deviation over texts", "length"),
    "similarity": ("agreement with human scores", "Pearson"),
    "similarity_centred": ("agreement with human scores, centred", "Pearson"),
    "similarity_rank": ("agreement with human scores, ranks", "Spearman"),
    "topic": ("topic by a linear probe", "fraction"),
    "retrieval": ("other version found", "fraction"),
    "pearson": ("predicted scores", "Pearson"),
    "spearman": ("predicted scores, ranks", "Spearman"),
    "error": ("error of predicted scores", "variances"),
    "cut": ("pairs cut to the model's length", "fraction"),
    # Oscillators.
    "order_parameter": ("order parameter r", "0 to 1"),
    "order_parameter_squared": ("mean of r²", "0 to 1"),
    "order_parameter_fourth": ("mean of r⁴", "0 to 1"),
    "order_parameter_theory": ("r in theory, N → ∞", "0 to 1"),
    "susceptibility": ("N Var r over time", "dimensionless"),
    "critical_coupling": ("K_c in theory", "1/time"),
    "coupling": ("coupling K of a level", "1/time"),
    "oscillators": ("oscillators N", "count"),
    # Two replicas of an image model.
    "noise_error": ("noise error", "mean square"),
    "encoder_loss": ("encoder loss", "nats per image"),
    "encoder_accuracy": ("encoder right", "fraction"),
    "feature_cosine": ("cosine of features", "−1 to 1"),
    "coarse": ("coarse discrepancy", "mean square"),
    "fine": ("fine discrepancy", "mean square"),
    "cosine_gap": ("difference kept, fine / coarse", "ratio"),
}
BEFORE = {"oracle_": " of the best model", "control_": ", control", "stranger_": ", strangers"}
BEHIND = {
    "_floor": " floor",
    "_ceiling": " ceiling",
    "_theory": " in theory",
    "_majority": ", most frequent answer",
    "_bag_of_words": ", counts of words",
    "_tf_idf": ", TF-IDF",
    "_random": ", random vectors",
}


def metric_name(metric: str) -> str:
    """What a reader calls the metric: 'puzzle_accuracy@10' -> 'boards solved @10'."""
    base, at, how = metric.partition("/")[0].partition("@")
    return _label(base)[0] + (f" @{how}" if at else "")


def sampler_of(metric: str) -> str:
    """'puzzle_accuracy@resample' -> 'resample'; '' for a metric of no sampler."""
    how = metric.partition("@")[2]
    return "" if how.isdigit() else how


def metric_unit(metric: str) -> str:
    """The unit of the metric, '' where it is not known."""
    return _label(metric.partition("/")[0].partition("@")[0])[1]


def axis_label(metric: str) -> str:
    """Name and unit of the metric, as an axis carries them."""
    return f"{metric_name(metric)} ({metric_unit(metric)})" if metric_unit(metric) else metric_name(metric)


def _label(base: str) -> tuple[str, str]:
    """Name and unit of a metric, or of what is measured beside one that has them."""
    if base in LABELS:
        return LABELS[base]
    for start, word in BEFORE.items():
        if base.removeprefix(start) in LABELS:
            name, unit = LABELS[base.removeprefix(start)]
            return f"{name}{word}", unit
    for end, word in BEHIND.items():
        if base.removesuffix(end) in LABELS:
            name, unit = LABELS[base.removesuffix(end)]
            return f"{name}{word}", unit
    return base.replace("_", " "), ""
