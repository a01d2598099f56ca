"""Which values of a metric are better: of errors the lowest, of scores the highest, of others nobody knows."""

import pytest
import torch

from hf_squareloss.inference import calibration_metrics
from hf_squareloss.metric_order import GREATER_IS_BETTER, LOWER_IS_BETTER, greater_is_better, known_order
from hf_squareloss.recipes.metrics import _CLASSIFICATION, _REGRESSION

ERRORS = "loss hinge_loss rmse error error_rate word_error_rate mean_squared_error eer mape per bpc ece brier_score WER"
SCORES = "accuracy top-5-accuracy f1 f1_macro PER_f1 precision@5 recall matthews_correlation bleu rougeL auc"


@pytest.mark.parametrize("prefix", ["", "eval_", "eval_clean_", "calibrated_"])
@pytest.mark.parametrize("better", [False, True])
def test_the_end_of_a_name_tells(prefix: str, better: bool) -> None:
    for name in (SCORES if better else ERRORS).split():
        assert known_order(prefix + name) is greater_is_better(prefix + name) is better, name


@pytest.mark.parametrize("name", ["my_power", "number", "eval_error_analysis", "accuracy_of_nothing", "losses"])
def test_of_other_metrics_nothing_is_known_and_a_trainer_takes_the_highest(name: str) -> None:
    assert known_order(name) is None and greater_is_better(name) is True


def test_no_metric_is_both() -> None:
    assert not LOWER_IS_BETTER & GREATER_IS_BETTER


def test_all_metrics_of_the_recipes_are_known() -> None:
    measured = calibration_metrics(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    for name in (*_CLASSIFICATION, *_REGRESSION, *measured, "wer", "cer", "perplexity"):
        assert known_order(name) is not None, name
