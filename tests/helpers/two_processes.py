"""Run by test_scaling.py under torchrun: gradients and calibrations on two processes, written by the first."""

import sys
from typing import Any

import other_trainers
import torch
from scaling_cases import CASES, FAMILIES, case_gradient, twice_in_one_process
from tiny_models import step_gradient
from trainer_runs import calibration
from transformers import Trainer

from hf_squareloss.recipes.cli import run_script


def main() -> None:
    torch.set_num_threads(1)
    folder, out = sys.argv[1:]
    gradients: dict[Any, Any] = {
        (family, case, accumulate): case_gradient(family, case, folder, batch=4 // accumulate, accumulate=accumulate)
        for family in FAMILIES
        for case in CASES
        for accumulate in (1, 2)
    }
    for case in other_trainers.CASES:
        for accumulate in (1, 2):
            sizes = {"batch": 4 // accumulate, "accumulate": accumulate}
            gradients[case, accumulate] = other_trainers.gradient(case, folder, **sizes)
    square = CASES["square"]
    gradients["twice"] = step_gradient("gpt2_causal", folder, batch=4, loss=square, trainer=twice_in_one_process)
    gradients["stock"] = step_gradient("bert", folder, batch=4, trainer=Trainer)
    numbers = {family: calibration(family, folder) for family in ("bert", "bert_tokens", "wav2vec2_ctc")}
    everywhere: list[Any] = [None, None]
    torch.distributed.all_gather_object(everywhere, numbers)
    if torch.distributed.get_rank() == 0:
        size = torch.distributed.get_world_size()
        torch.save({"world_size": size, "gradients": gradients, "calibrations": everywhere}, out)
    torch.distributed.barrier()


if __name__ == "__main__":
    run_script(main)
