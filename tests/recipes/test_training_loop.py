"""The loop with Accelerate: its options. What it trains is tested with the two scripts that use it."""

import pytest

from hf_squareloss.recipes.training_loop import LoopArguments


@pytest.mark.parametrize("steps", [None, "epoch", "10"])
def test_checkpoints_by_steps_or_epochs(steps: str | None) -> None:
    assert LoopArguments(output_dir="x", checkpointing_steps=steps).checkpointing_steps == steps


@pytest.mark.parametrize("steps", ["0", "-1", "often", "1.5"])
def test_others_are_refused(steps: str) -> None:
    with pytest.raises(ValueError, match="checkpointing_steps must be a positive number or epoch"):
        LoopArguments(output_dir="x", checkpointing_steps=steps)
