"""How good class probabilities are: calibration error, Brier score, likelihood and the data of a reliability plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Binning = Literal["width", "mass"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReliabilityCurve:
    """One value per bin of confidence; empty bins hold nan, which plots leave out.

    Attributes:
        confidence: (bins,) mean probability of the predicted class.
        accuracy: (bins,) share of right predictions.
        count: (bins,) number of items, integers.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "width"
) -> Tensor:
    """The gap between confidence and accuracy of the predicted class, averaged over bins of confidence.

    ECE = sum_b (n_b / N) |accuracy_b - confidence_b|, the bins as in `reliability_curve`.

    Conventions where sources differ: the predicted class only, not every class; no power.

    Args:
        probabilities: (N, C), rows that sum to one, any floating type; reduced in float32 or better.
        labels: (N,) integers in [0, C).
        bins: number of bins.
        binning: "width" for bins of equal width, "mass" for bins with equally many items.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: shapes or types do not fit, no item, rows that are no distribution, labels outside [0, C), bins < 1,
            another binning.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599), equation 3. Bins of
    equal mass: Nixon et al., Measuring Calibration in Deep Learning, 2019 (arXiv 1904.01685), section 3.

    Example:
        >>> p = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
        >>> expected_calibration_error(p, torch.tensor([0, 1]))
        tensor(0.2500)
    """
    curve = reliability_curve(probabilities, labels, bins=bins, binning=binning)
    gap = torch.where(curve.count > 0, (curve.accuracy - curve.confidence).abs(), 0.0)
    return (curve.count * gap).sum() / curve.count.sum()


def brier_score(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The squared distance between the probabilities and the one-hot label.

    Brier = (1/N) sum_n sum_c (p_nc - [c = y_n])^2

    Conventions where sources differ: sum over the classes, mean over the items, so 2 is the worst; with C = 2 it is
    twice the score of the positive class alone.

    Args:
        probabilities: (N, C), rows that sum to one, any floating type; reduced in float32 or better.
        labels: (N,) integers in [0, C).

    Returns:
        Scalar in [0, 2].

    Raises:
        ValueError: shapes or types do not fit, no item, rows that are no distribution, labels outside [0, C).

    Source: Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review 78, 1950.

    Example:
        >>> brier_score(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 1]))
        tensor(0.2500)
    """
    probabilities, labels = _checked(probabilities, labels)
    true = probabilities.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return (probabilities.square().sum(-1) - 2.0 * true + 1.0).clamp_min(0.0).mean()


def negative_log_likelihood(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The mean surprise at the labels, in natural logarithms; infinite where a label had probability zero.

    NLL = -(1/N) sum_n log p_{n, y_n}

    Args:
        probabilities: (N, C), rows that sum to one, any floating type; reduced in float32 or better.
        labels: (N,) integers in [0, C).

    Returns:
        Scalar, zero or more.

    Raises:
        ValueError: shapes or types do not fit, no item, rows that are no distribution, labels outside [0, C).

    Source: Guo et al., ICML 2017 (arXiv 1706.04599), equation 6.

    Example:
        >>> negative_log_likelihood(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
        tensor(0.6931)
    """
    probabilities, labels = _checked(probabilities, labels)
    return -probabilities.gather(-1, labels.unsqueeze(-1)).log().mean()


def reliability_curve(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "width"
) -> ReliabilityCurve:
    """Confidence, accuracy and number of items in bins of the predicted class's probability.

    Of equal width, bin b of 1..bins holds the items with max_c p_c in ((b - 1) / bins, b / bins]; of equal mass, the
    items in the order of max_c p_c are cut into parts whose sizes differ by at most one.

    Args:
        probabilities: (N, C), rows that sum to one, any floating type; reduced in float32 or better.
        labels: (N,) integers in [0, C).
        bins: number of bins.
        binning: "width" or "mass".

    Returns:
        A `ReliabilityCurve` of three (bins,) tensors.

    Raises:
        ValueError: shapes or types do not fit, no item, rows that are no distribution, labels outside [0, C), bins < 1,
            another binning.

    Source: Guo et al., ICML 2017 (arXiv 1706.04599), equations 1 and 2.

    Example:
        >>> p = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.0, 1.0]])
        >>> reliability_curve(p, torch.tensor([0, 1, 1]), bins=4).accuracy
        tensor([   nan,    nan, 0.5000, 1.0000])
    """
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    probabilities, labels = _checked(probabilities, labels)
    confidence, predicted = probabilities.max(-1)
    right = (predicted == labels).to(confidence.dtype)
    if binning == "mass":
        ranks = torch.arange(len(confidence), device=confidence.device)
        index = torch.empty_like(ranks)
        index[confidence.argsort(stable=True)] = ranks * bins // len(ranks)
    elif binning == "width":
        edges = torch.linspace(0.0, 1.0, bins + 1, dtype=confidence.dtype, device=confidence.device)
        index = torch.bucketize(confidence, edges[1:-1])
    else:
        raise ValueError(f'binning must be "width" or "mass", got {binning!r}')
    count = torch.bincount(index, minlength=bins)
    total = confidence.new_zeros(bins)
    return ReliabilityCurve(
        confidence=total.index_add(0, index, confidence) / count,
        accuracy=total.index_add(0, index, right) / count,
        count=count,
    )


def reliability_diagram(
    curve: ReliabilityCurve | Mapping[str, ReliabilityCurve], *, axes: Axes | None = None
) -> Figure:
    """Accuracy against confidence, a point for each bin with items and as large as it has many; right is the diagonal.

    Args:
        curve: of `reliability_curve`, or several by name.
        axes: to draw into; None makes a figure of 4 by 4 inches.

    Returns:
        The matplotlib figure (`savefig` writes it), which no window and no pyplot knows.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> p = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.0, 1.0]])
        >>> figure = reliability_diagram(reliability_curve(p, torch.tensor([0, 1, 1])))
        >>> figure.savefig("reliability.png")  # doctest: +SKIP
    """
    from matplotlib.figure import Figure

    curves = curve if isinstance(curve, Mapping) else {"": curve}
    figure: Any = Figure(figsize=(4, 4), layout="constrained") if axes is None else axes.figure
    axes = figure.add_subplot() if axes is None else axes
    assert axes is not None
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=1)
    for name, one in curves.items():
        filled = one.count > 0
        confidence, accuracy = one.confidence[filled].cpu().numpy(), one.accuracy[filled].cpu().numpy()
        sizes = 12 + 120 * (one.count[filled] / one.count.sum()).cpu().numpy()
        (line,) = axes.plot(confidence, accuracy, linewidth=1, label=name or None, zorder=2)
        axes.scatter(confidence, accuracy, s=sizes, color=line.get_color(), zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence", ylabel="accuracy")
    if any(curves):
        axes.legend(frameon=False, loc="upper left")
    return figure


def calibration_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """`expected_calibration_error`, `brier_score` and `negative_log_likelihood` as numbers for a log.

    Args:
        probabilities: (N, C), rows that sum to one, any floating type; reduced in float32 or better.
        labels: (N,) integers in [0, C).

    Returns:
        {"ece": ..., "brier": ..., "nll": ...}

    Raises:
        ValueError: shapes or types do not fit, no item, rows that are no distribution, labels outside [0, C).

    Example:
        >>> calibration_metrics(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
        {'ece': 0.5, 'brier': 0.5, 'nll': 0.6931471824645996}
    """
    return {
        "ece": expected_calibration_error(probabilities, labels).item(),
        "brier": brier_score(probabilities, labels).item(),
        "nll": negative_log_likelihood(probabilities, labels).item(),
    }


def multi_label_calibration_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """`calibration_metrics` where an item has any number of the classes: the mean over the classes.

    Convention: each class is a yes-no question of its own, whose two answers have the probabilities p_c and 1 - p_c;
    its three measures are those of two classes, and each class weighs the same. So the Brier score counts both answers,
    2 (p_c - y_c)^2, as with two classes; the calibration error is of the likelier answer, with each class's own bins.

    Args:
        probabilities: (N, C) in [0, 1], any floating type; reduced in float32 or better.
        labels: (N, C) of 0 or 1, any type.

    Returns:
        {"ece": ..., "brier": ..., "nll": ...}

    Raises:
        ValueError: shapes or types do not fit, no item, probabilities outside [0, 1], labels other than 0 and 1.

    Example:
        >>> multi_label_calibration_metrics(torch.tensor([[0.5, 1.0]]), torch.tensor([[1, 1]]))
        {'ece': 0.25, 'brier': 0.25, 'nll': 0.3465735912322998}
    """
    if not probabilities.is_floating_point() or probabilities.dim() != 2 or labels.shape != probabilities.shape:
        expected = "probabilities and labels must be (N, C), the probabilities floating"
        raise ValueError(f"{expected}, got {tuple(probabilities.shape)} and {tuple(labels.shape)}")
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError("labels must be 0 or 1, one per class")
    p = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    found = [
        calibration_metrics(torch.stack([1.0 - yes, yes], -1), answers)
        for yes, answers in zip(p.unbind(-1), labels.long().unbind(-1), strict=True)
    ]
    if not found:
        raise ValueError("there must be a class")
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def _checked(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Refuses what does not fit; returns the probabilities in float32 or better and the labels as int64."""
    shape = tuple(probabilities.shape)
    if not probabilities.is_floating_point() or probabilities.dim() != 2 or 0 in shape:
        raise ValueError(f"probabilities must be floating with shape (N, C), got {probabilities.dtype} {shape}")
    if labels.is_floating_point() or labels.dtype == torch.bool or tuple(labels.shape) != shape[:1]:
        raise ValueError(f"labels must be integers of shape {shape[:1]}, got {labels.dtype} {tuple(labels.shape)}")
    outside = (labels < 0) | (labels >= shape[1])
    if outside.any():
        raise ValueError(f"labels must be in [0, {shape[1]}), got {labels[outside][0].item()}")
    # A row rounded to 16 bits is off by up to a few parts in a thousand.
    tolerance = 1e-2 if probabilities.dtype.itemsize < 4 else 1e-4
    probabilities = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
    totals = probabilities.sum(-1)
    valid = (probabilities >= 0).all(-1) & ((totals - 1.0).abs() <= tolerance)
    if not valid.all():
        row = int((~valid).nonzero()[0])
        raise ValueError(
            f"every row of probabilities must be non-negative and sum to one, got row {row} with sum "
            f"{totals[row].item():g} and minimum {probabilities[row].min().item():g}: see Loss.probabilities"
        )
    return probabilities, labels.long()
