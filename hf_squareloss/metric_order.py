"""Which values of a metric are the better ones: for the best checkpoint, and for a comparison."""

from __future__ import annotations

import re

LOWER_IS_BETTER = frozenset(
    "loss error errors error_rate err nll log_loss cross_entropy negative_log_likelihood deviance perplexity ppl "
    "bpc bpb bits_per_character bits_per_char bits_per_byte bits_per_word kl divergence ece mce brier brier_score crps "
    "mse rmse mae mape smape mdape msle rmsle wer cer mer wil per ter der eer ser fer fpr fnr far frr "
    "false_positive_rate false_negative_rate distance fid lpips".split()
)
GREATER_IS_BETTER = frozenset(
    "accuracy acc f1 f1_score fbeta f_score precision recall sensitivity specificity matthews_correlation mcc "
    "correlation pearson pearsonr spearman spearmanr kendall kendalltau r2 r2_score explained_variance "
    "auc auroc auprc aucpr map mrr ndcg hits hit_rate tpr tnr true_positive_rate true_negative_rate "
    "kappa jaccard iou miou dice exact_match em bleu sacrebleu rouge rouge1 rouge2 rougel rougelsum meteor chrf "
    "bertscore wip psnr ssim likelihood log_likelihood combined_score".split()
)
_WHICH_ONE = re.compile(r"@\d+$|_(micro|macro|weighted)$")  # of a family of metrics


def known_order(metric: str) -> bool | None:
    """Whether the larger value of a metric is the better one, by the end of its name; None where that is on no list.

    Args:
        metric: as a Trainer has it: wer, eval_wer, or eval_clean_wer of the data set "clean".

    Example:
        >>> known_order("eval_f1_macro"), known_order("eval_word_error_rate"), known_order("my_power")
        (True, False, None)
    """
    words = _WHICH_ONE.sub("", metric.lower()).replace("-", "_").split("_")
    for ending in ("_".join(words[first:]) for first in range(len(words))):  # the longest: brier_score is no score
        if ending in LOWER_IS_BETTER or ending in GREATER_IS_BETTER:
            return ending in GREATER_IS_BETTER
    return False if metric.endswith("loss") else None


def greater_is_better(metric: str) -> bool:
    """Whether the larger value of a metric is the better one; as for a Trainer it is where nothing is known of it.

    Args:
        metric: as for `known_order`.

    Example:
        >>> greater_is_better("eval_accuracy"), greater_is_better("eval_wer"), greater_is_better("my_power")
        (True, False, True)
    """
    return known_order(metric) is not False
