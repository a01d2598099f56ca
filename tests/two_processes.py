"""Run by test_scaling.py under torchrun: the gradients of every case on two processes, written by the first."""

import os
import sys

import torch
from test_scaling import CASES, FAMILIES, case_gradient
from tiny_models import step_gradient
from transformers import Trainer

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, out = sys.argv[1:]
    gradients = {
        (family, case, accumulate): case_gradient(family, case, folder, batch=4 // accumulate, accumulate=accumulate)
        for family in FAMILIES
        for case in CASES
        for accumulate in (1, 2)
    }
    gradients["stock"] = step_gradient("bert", folder, batch=4, trainer=Trainer)
    world_size = torch.distributed.get_world_size()
    if torch.distributed.get_rank() == 0:
        torch.save({"world_size": world_size, "gradients": gradients}, out)
    torch.distributed.barrier()
    # Torn down in the usual way, a process now and then aborts in gloo's threads after its work is done (torch 2.13).
    os._exit(0)
