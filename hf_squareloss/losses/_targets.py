"""Checks of labels and targets against scores: the one place that says what fits and when a value may be read."""

import torch
from torch import Tensor

_INTEGERS = (torch.int64, torch.int32)


def may_read(tensor: Tensor) -> bool:
    """Whether looking at a value costs nothing: it stops an accelerator's queue, and a compiled graph breaks there.

    Elsewhere wrong labels are the caller's to find, once per step (`Loss.wrong_labels`); without that the gather
    kernel's own bounds assertion speaks, as for torch's cross_entropy.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not _is_transformed(tensor)


def _is_transformed(tensor: Tensor) -> bool:
    """Whether torch.func.vmap or its kin look on, where no value can be read (torch 2.13 has no public name for it)."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # type: ignore[attr-defined]


def widened(labels: Tensor) -> Tensor:
    """Integers of 8 and 16 bits as int64: there -100 and the number of classes would be other numbers.

    Others, and what is no integer, are returned as they are. Every place that compares labels begins with this.
    """
    narrow = labels.dtype not in _INTEGERS and labels.dtype != torch.bool and not labels.dtype.is_floating_point
    return labels.long() if narrow and not labels.dtype.is_complex else labels


def outside(labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Whether each integer label is neither a class nor ignored; no value is read."""
    labels = widened(labels)
    return (labels != ignore_index) & ((labels < 0) | (labels >= num_classes))


def refuse(values: Tensor, wrong: Tensor, expected: str, *, name: str = "labels", row: str | None = None) -> None:
    """ValueError with the first of the `values` that are wrong, and the row it is in if that has a name."""
    if wrong.any():
        where = wrong.nonzero()[0].tolist()
        place = "" if row is None else f"{row} {where[0]} of the batch: "
        raise ValueError(f"{place}{name} must be in {expected}, got {values[tuple(where)].item()}")


def wrong_distributions(targets: Tensor, *, multi_label: bool, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which entries (..., C) are not in [0, 1], and which rows (...) are no distribution; no value is read."""
    kept = (targets != ignore_index).any(-1)
    entries = kept.unsqueeze(-1) & ~((targets >= 0) & (targets <= 1))
    if multi_label:
        return entries, torch.zeros_like(kept)
    return entries, kept & ((targets.float().sum(-1) - 1.0).abs() >= 0.01)


def refuse_distributions(targets: Tensor, *, multi_label: bool, ignore_index: int) -> None:
    """ValueError with the first of them that is wrong."""
    entries, rows = wrong_distributions(targets, multi_label=multi_label, ignore_index=ignore_index)
    refuse(targets, entries, "[0, 1]")
    refuse(targets.float().sum(-1), rows, "[0, 1] and sum to one over the classes (or use multi_label)")


def require_integers(labels: Tensor, shape: tuple[int | str, ...], *, name: str = "labels", of: str = "") -> None:
    """ValueError unless `labels` are integers of this shape, in which a name stands for any size."""
    fits = labels.dim() == len(shape) and all(
        isinstance(expected, str) or expected == size for expected, size in zip(shape, labels.shape, strict=True)
    )
    if not fits or labels.is_floating_point() or labels.dtype == torch.bool:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name} must be integers of shape ({wanted}){of}, got {labels.dtype} {tuple(labels.shape)}")


def require_scores(scores: Tensor) -> None:
    """ValueError unless these are floating with at least one dimension."""
    if not scores.is_floating_point() or scores.dim() == 0:
        raise ValueError(f"scores must be floating with shape (..., C), got {scores.dtype} {tuple(scores.shape)}")


def all_count(labels: Tensor, num_classes: int, ignore_index: int) -> bool:
    """Whether these are integer labels of classes, none ignored, by one look; False where a look would cost."""
    if labels.dtype not in _INTEGERS or 0 <= ignore_index < num_classes or not labels.numel() or not may_read(labels):
        return False
    least, largest = labels.aminmax()
    return bool(least >= 0) and bool(largest < num_classes)


def check_targets(scores: Tensor, targets: Tensor, *, multi_label: bool, ignore_index: int) -> Tensor:
    """Refuse targets that do not fit the scores (..., C); the mask (...) of the items that count.

    Args:
        targets: as in `Loss.__call__`.

    Raises:
        ValueError: shapes, types or, where they may be read, values that do not fit.
    """
    require_scores(scores)
    regression = scores.shape[-1] == 1 and not multi_label
    if regression:
        return _check_real(scores, targets)
    if multi_label or targets.is_floating_point():
        return _check_distributions(scores, targets, multi_label, ignore_index)
    rows, num_classes = tuple(scores.shape[:-1]), scores.shape[-1]
    require_integers(targets, rows, of=f" for scores {tuple(scores.shape)}")
    if may_read(targets):
        refuse(targets, outside(targets, num_classes, ignore_index), f"[0, {num_classes})")
    return targets != ignore_index


def _check_real(scores: Tensor, targets: Tensor) -> Tensor:
    rows = scores.shape[:-1]
    if not targets.is_floating_point() or targets.shape not in (rows, scores.shape):
        raise ValueError(
            f"one score per item (C = 1) needs floating targets of shape {tuple(rows)}, "
            f"got {targets.dtype} {tuple(targets.shape)}"
        )
    if may_read(targets):
        refuse(targets, ~torch.isfinite(targets), "the real numbers")
    return torch.ones(rows, dtype=torch.bool, device=scores.device)


def _check_distributions(scores: Tensor, targets: Tensor, multi_label: bool, ignore_index: int) -> Tensor:
    if targets.shape != scores.shape:
        kind = "multi-label targets" if multi_label else "floating labels (a distribution over classes)"
        raise ValueError(
            f"{kind} must have the scores' shape {tuple(scores.shape)}, got {tuple(targets.shape)} {targets.dtype}; "
            f"class indices must be integers"
        )
    if may_read(targets):
        refuse_distributions(targets, multi_label=multi_label, ignore_index=ignore_index)
    return (targets != ignore_index).any(-1)
