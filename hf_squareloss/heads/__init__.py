"""What a model's head expects of a loss: which scores belong to which labels, and how to do without scores."""

from hf_squareloss.heads._ctc import captured_frames
from hf_squareloss.heads._families import blank_of, ctc_frames, is_ctc, refuse_copying, refuse_head, task_of
from hf_squareloss.heads._fused import FusedHead
from hf_squareloss.heads._fused_search import FusedSearch
from hf_squareloss.heads._head import Head

__all__ = [
    "FusedHead",
    "FusedSearch",
    "Head",
    "blank_of",
    "captured_frames",
    "ctc_frames",
    "is_ctc",
    "refuse_copying",
    "refuse_head",
    "task_of",
]
