"""What a model's head expects of a loss: which scores belong to which labels, and how to do without scores."""

from hf_squareloss.heads._families import ctc_frames, is_ctc, task_of
from hf_squareloss.heads._fused import LinearHead, NotLinear
from hf_squareloss.heads._head import Head

__all__ = ["Head", "LinearHead", "NotLinear", "ctc_frames", "is_ctc", "task_of"]
