"""Which values of a metric are the better ones: for the best checkpoint, and for a comparison."""

LOWER_IS_BETTER = frozenset({"loss", "ece", "brier", "nll", "mse", "mae", "wer", "cer", "perplexity"})


def greater_is_better(metric: str) -> bool:
    """Whether the larger value of a metric is the better one, by the end of its name.

    Args:
        metric: as a Trainer has it: wer, eval_wer, or eval_clean_wer of the data set "clean".

    Example:
        >>> greater_is_better("eval_accuracy"), greater_is_better("eval_wer")
        (True, False)
    """
    return metric.split("_")[-1] not in LOWER_IS_BETTER and not metric.endswith("loss")
