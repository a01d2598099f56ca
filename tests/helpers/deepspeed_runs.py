"""Run by test_trainer.py in a process of its own: two steps with DeepSpeed's ZeRO 2 and 3 on a CPU."""

import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch
from tiny_models import arguments, flat_weights, make_examples, make_model

from hf_squareloss import SquareLoss, SquareLossTrainer

if __name__ == "__main__":
    torch.set_num_threads(1)
    # The shared-memory collectives would be compiled for two minutes when first used: gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    folder = Path(sys.argv[1])
    for stage in (2, 3):
        zero = {
            "zero_optimization": {"stage": stage},
            "zero_allow_untested_optimizer": True,
            "optimizer": {"type": "SGD", "params": {"lr": 0.1}},
            "bf16": {"enabled": True},
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",  # accelerate clips at 1 unless told
        }
        sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 2}
        args = arguments(folder, bf16=True, deepspeed=zero, **sizes)
        trainer = SquareLossTrainer(
            make_model("bert"), args, train_dataset=make_examples("bert"), loss=SquareLoss(k=2.0, M=3.0)
        )
        trainer.train()
        # With ACCELERATE_USE_CPU set, accelerate 1.15 falls back to DDP without a word.
        engine: Any = trainer.model_wrapped
        assert trainer.is_deepspeed_enabled and engine.zero_optimization_stage() == stage
        model: Any = trainer.model
        if stage == 3:
            with deepspeed.zero.GatheredParameters(list(model.parameters())):
                weights = flat_weights(model)
        else:
            weights = flat_weights(model)
        torch.save(weights, folder / f"zero{stage}.pt")
    torch.distributed.destroy_process_group()
