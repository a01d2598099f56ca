"""SIGTERM and SIGINT: a run says what it keeps and how to go on, and with --enable_jit_checkpoint saves first."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_jit_checkpoint import JITCheckpointCallback

from hf_squareloss.training import last_complete_checkpoint


class Interruption(TrainerCallback):
    """A context in which signals end the run with status 128 + their number, 143 for SIGTERM and 130 for SIGINT.

    With `enable_jit_checkpoint`, SIGTERM in training ends it behind the optimizer step under way, the same in all
    processes of the run, and a checkpoint is saved there. It stands in for transformers' own callback (5.24), which
    saves in the middle of a step, not the same one in each process, and lets the run pass for a finished one.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.requested: signal.Signals | None = None
        self._process, self._before = os.getpid(), {}

    def __enter__(self) -> Interruption:
        self.trainer.remove_callback(JITCheckpointCallback)
        self.trainer.add_callback(self)
        if threading.current_thread() is threading.main_thread():  # no other may
            self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.trainer.remove_callback(self)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.enable_jit_checkpoint and self._any_process_stops():
            self.requested = self.requested or signal.SIGTERM
            control.should_save = control.should_training_stop = True
            self.trainer.args.calibrate = False  # type: ignore[attr-defined]  # the run is not at its end

    def stop_if_requested(self) -> None:
        """SystemExit where training ended early because of a signal."""
        if self.requested is not None:
            self._stop(self.requested)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker of a DataLoader, which has inherited this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif number == signal.SIGTERM and self.trainer.is_in_train and self.trainer.args.enable_jit_checkpoint:
            self.requested = signal.Signals(number)
        else:
            self._stop(signal.Signals(number))

    def _any_process_stops(self) -> bool:
        stops = self.requested is not None
        if self.trainer.args.world_size > 1:
            stop = torch.tensor([stops], dtype=torch.int32, device=self.trainer.args.device)
            gathered: Any = self.trainer.accelerator.gather(stop)
            stops = bool(gathered.any())
        return stops

    def _stop(self, number: signal.Signals) -> None:
        if self.trainer.args.should_save:
            print(f"\nStopped by {number.name} {self._kept()}", file=sys.stderr, flush=True)  # noqa: T201
        raise SystemExit(128 + number)

    def _kept(self) -> str:
        args, state = self.trainer.args, self.trainer.state
        if not args.do_train:
            return f"before the end: the results so far are in {args.output_dir}. The same command goes on."
        at = f"at step {state.global_step}" + (f" of {state.max_steps}" if state.max_steps else "")
        kept = last_complete_checkpoint(args.output_dir or ".", args.world_size)
        if kept is None:
            return f"{at}: there is no checkpoint to go on from (--save_steps). The same command starts anew."
        return f"{at}: {kept} is kept. The same command goes on from there."
