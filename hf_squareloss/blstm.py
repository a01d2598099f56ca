"""The recurrent CTC model of `hf_squareloss.models`, by a name of its own; importing either registers it."""

from hf_squareloss.models import BLSTMConfig, BLSTMForCTC

__all__ = ["BLSTMConfig", "BLSTMForCTC"]
