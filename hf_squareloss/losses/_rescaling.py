"""k and M of the square loss from the number of classes: the paper's table, and a rule that was measured."""

import math
from typing import Literal

Rescaling = float | Literal["auto", "paper"]
_LARGEST_K = 100.0  # of "auto"


def k_and_M(k: Rescaling, M: Rescaling, num_classes: int) -> tuple[float, float]:
    """Both as numbers.

    "paper": (1, 1) below 42 classes, (1, 15) from 42 and (15, 30) from 1000.
    "auto":  k = C / 4, from 1 to 100, and M with k M^2 = C / 4, at least 1.

    k M^2 is the true class's part of the first loss, to which the first, random scores add C times their variance. If
    it is far below C / 4, training goes into shrinking those scores, far above it into travelling to the target: what
    was measured on validation data with C from 2 to 20,000 is compatible with that, for k = 1 as for k = C / 2
    (docs/losses.md). k itself says which probabilities can be told apart, those up to about 1 / k.

    Args:
        k, M: numbers, which are kept, or the name of a rule.
        num_classes: C; 2 where each class is a yes-no question.

    Source: Hui & Belkin, ICLR 2021 (arXiv 2006.07322), experiments with the rescaled square loss, for "paper".

    Example:
        >>> k_and_M("auto", "auto", 50), k_and_M(1.0, "auto", 64), k_and_M("paper", "paper", 50)
        ((12.5, 1.0), (1.0, 4.0), (1.0, 15.0))
    """
    paper = (1.0, 1.0) if num_classes < 42 else (1.0, 15.0) if num_classes < 1000 else (15.0, 30.0)
    if isinstance(k, str):
        k = paper[0] if k == "paper" else min(max(1.0, num_classes / 4), _LARGEST_K)
    if isinstance(M, str):
        M = paper[1] if M == "paper" else max(1.0, math.sqrt(num_classes / (4 * k)))
    return k, M
