"""A Trainer's repository on the Hub: the rights to push, asked before training, failures explained, its model card."""

from __future__ import annotations

import itertools
import os
import pickletools
import shlex
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from transformers.utils import logging

from hf_squareloss.config import base_model, has_adapter
from hf_squareloss.heads import Head
from hf_squareloss.losses import Loss
from hf_squareloss.training._calibration import Calibrated
from hf_squareloss.training._model_card import model_card, registering_module

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


logger = logging.get_logger(__name__)
_ARGUMENTS = "training_args.bin"
# Of httpx or httpx2, as the installed huggingface_hub has it: what a broken connection raises is one too.
_HTTPError: type[Exception] = HfHubHTTPError.__mro__[1]
_REASONS = {
    401: "it refuses the token: `hf auth login` or HF_TOKEN with a valid one",
    403: "the token has no write access there",
    404: "there is no such repository, or the token cannot see it",
    429: "it was asked too often: try again in some minutes",
}


class PushError(RuntimeError):
    """A push to the Hub that failed; the message says in one line why, what is safe and how to push it later."""


class HiddenToken(str):
    """A token that is None wherever it is pickled: the Trainer writes its arguments into training_args.bin."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(None), ()

    def __deepcopy__(self, memo: Any) -> HiddenToken:
        return self


class _LocalPath(str):
    """A path that is its last part wherever it is pickled."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return str, (Path(self).name,)


@contextmanager
def _without_paths(args: Any) -> Iterator[None]:
    """Inside of this the pickled arguments hold no path of the machine: the Trainer writes them beside the model."""
    paths = {name: value for name, value in vars(args).items() if isinstance(value, str) and os.path.isabs(value)}
    vars(args).update({name: _LocalPath(value) for name, value in paths.items()})
    try:
        yield
    finally:
        vars(args).update(paths)


def require_no_tokens(folder: str | Path) -> None:
    """ValueError where a file of a Trainer's arguments that a push would take holds a token of the Hub.

    The stock Trainer (transformers 5.24) writes `hub_token` into them; an earlier run may have left one in a folder.
    """
    for file in sorted(Path(folder).rglob(_ARGUMENTS)):
        inside = file.relative_to(folder).parts
        if not inside[0].startswith(("_", "checkpoint-")) and _holds_token(file):
            raise ValueError(f"{file} holds a token of the Hub (another run's --hub_token): remove it before a push")


def _holds_token(file: Path) -> bool:
    """Whether pickled arguments have a text for hub_token, seen without loading them."""
    with zipfile.ZipFile(file) as archive:
        pickled = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    steps = [(code.name, value) for code, value, _ in pickletools.genops(pickled) if "PUT" not in code.name]
    return any(
        value == "hub_token" and "UNICODE" in following for (_, value), (following, _) in itertools.pairwise(steps)
    )


@contextmanager
def push_errors(repo_id: str, folder: str | Path | None = None, *, revision: str | None = None) -> Iterator[None]:
    """What goes wrong between us and the Hub inside of this becomes a `PushError`; all else stays what it is.

    Args:
        repo_id: where to.
        folder: what is pushed, complete on disk; None where nothing is yet.
        revision: the branch, if not main.

    Raises:
        PushError: the Hub refused or failed, or the connection broke.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        message = f"nothing was pushed to {repo_id}: {reason}"
        if folder is not None:
            command = ["hf", "upload", repo_id, str(folder), ".", "--exclude", "checkpoint-*", "--exclude", "_*"]
            command += ["--revision", revision] if revision else []
            message += f". The model and all results are safe in {folder}; to push later: {shlex.join(command)}"
        raise PushError(message) from error


def _reason(error: BaseException) -> str | None:
    """Why the Hub did not do what it was asked for; None for an error of another kind."""
    while not isinstance(error, _HTTPError | ConnectionError):
        if error.__cause__ is None:  # an upload's failure is the cause of a RuntimeError (huggingface_hub 2.4)
            return None
        error = error.__cause__
    if not isinstance(error, HfHubHTTPError):
        said = " ".join(str(error).split())
        return f"no connection to {HfApi().endpoint} ({type(error).__name__}{said and ': '}{said})"
    status = error.response.status_code
    default = "it failed: try again later" if status >= 500 else " ".join((error.server_message or str(error)).split())
    return f"{HfApi().endpoint} answered {status}, {_REASONS.get(status, default)}"


def require_push_rights(repo_id: str, *, token: str | None = None, private: bool | None = None) -> str:
    """Create the model repository if needed and return its full id: a read-only token would fail after the last step.

    Raises:
        ValueError: no token, an invalid one, or one that cannot write to this repository; says which and what to do.
        PushError: the Hub cannot be asked; says why.
    """
    if (token or get_token()) is None:
        raise ValueError("push_to_hub needs a token and none was found: run `hf auth login` or set HF_TOKEN")
    api = HfApi(token=token)
    with push_errors(repo_id):
        try:
            user = api.whoami(cache=True)
        except HfHubHTTPError as error:
            if error.response.status_code != 401:
                raise
            raise ValueError(f"push_to_hub needs a valid token: {api.endpoint} refuses this one (401)") from None
        try:
            # create_repo(exist_ok=True) takes any readable repository for success (huggingface_hub 2.4): ask once more.
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            api.auth_check(repo_id, write=True)
        except HfHubHTTPError as error:
            if error.response.status_code not in (401, 403, 404):
                raise
            role = user.get("auth", {}).get("accessToken", {}).get("role")
            reason = "is read-only" if role == "read" else f"(role {role}) has no write access there"
            raise ValueError(f"push_to_hub cannot write to {repo_id}: the token of {user['name']} {reason}") from None
    return repo_id


class HubMixin(_Trainer):
    """What a Trainer tells the Hub of a model trained with a loss of one's choice."""

    _head: Head
    _loss: Loss
    _calibrated: Calibrated

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.hub_token is not None:
            self.args.hub_token = HiddenToken(self.args.hub_token)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        if self.is_world_process_zero():
            name = self.args.hub_model_id or Path(self.args.output_dir or "").absolute().name
            private = self.args.hub_private_repo if private is None else private
            name = require_push_rights(name, token=token or self.args.hub_token, private=private)
            with push_errors(name):
                super().init_hf_repo(token, private)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Where all saving ends (transformers 5.24 has no public place there).
        with _without_paths(self.args):
            super()._save(output_dir, state_dict)

    def save_state(self) -> None:
        """As the Trainer's; the state beside the model calls its best checkpoint by name, without the folder's path."""
        best = self.state.best_model_checkpoint
        self.state.best_model_checkpoint = Path(best).name if best else best
        try:
            super().save_state()
        finally:
            self.state.best_model_checkpoint = best

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's.

        Raises:
            ValueError: a file in the folder holds a token.
            PushError: the push failed; says why, what is safe, and the command that pushes it later.
        """
        if self.is_world_process_zero():
            require_no_tokens(self.args.output_dir or ".")
        name, folder = self.hub_model_id or self.args.hub_model_id or "the Hub", self.args.output_dir
        with push_errors(name, folder, revision=kwargs.get("revision") or self.args.hub_revision):
            return super().push_to_hub(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # Nobody asks the uploads in the background whether they succeeded (transformers 5.24).
        before = self._jobs()
        with _without_paths(self.args):
            super()._push_from_checkpoint(checkpoint_folder)
        for job in self._jobs() - before:
            job.add_done_callback(partial(_report_failure, Path(checkpoint_folder).name))

    def _jobs(self) -> set[Future[Any]]:
        running: Any = self.push_in_progress if self.hub_model_id else None  # only process zero has it (5.24)
        return set(running.jobs) if running else set()

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write README.md: the loss, this run's last evaluation and how to get probabilities."""
        if not self.is_world_process_zero():
            return
        model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        args, folder = self.args, Path(self.args.output_dir or ".")
        metrics = {
            name.removeprefix("eval_"): float(value)
            for entry in self.state.log_history
            for name, value in entry.items()
            if name.startswith("eval_")
            and not name.endswith(("_runtime", "_per_second", "_time"))
            and isinstance(value, int | float)
        }
        training = {
            "learning rate": args.learning_rate,
            "epochs": args.num_train_epochs if self.state.epoch is None else round(self.state.epoch, 2),
            "optimizer steps": self.state.global_step,
            "batch size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "optimizer": OptimizerNames(args.optim).value,
            "schedule": SchedulerType(args.lr_scheduler_type).value,
            "seed": args.seed,
        }
        card = model_card(
            repo_id=self.hub_model_id or model_name or folder.absolute().name,
            loss=self._calibrated.saved(self._loss),
            metrics=metrics,
            task=_first(tasks) or self._head.task,
            auto_class=self._head.auto_class,
            dataset_name=_first(dataset) or "unnamed data",
            dataset=_first(dataset_tags),
            base_model=finetuned_from or getattr(getattr(base_model(model), "config", None), "_name_or_path", None),
            training=training,
            regression=self._head.num_classes == 1 and not self._head.multi_label,
            adapter=has_adapter(model),
            scores=self._head.scores,
            module=registering_module(model),
            picture=self._calibrated.draw(folder),
            language=language,
            license=license,
            tags=[tags] if isinstance(tags, str) else tags,
        )
        (folder / "README.md").write_text(card, encoding="utf8")


def _report_failure(name: str, job: Future[Any]) -> None:
    error = None if job.cancelled() else job.exception()
    if error is not None:
        reason = _reason(error) or f"{type(error).__name__}: {error}"
        logger.warning(f"the push of {name} failed: {reason}. Training goes on; the next push sends what is missing")


def _first(names: str | list[str] | None) -> str | None:
    return names[0] if isinstance(names, list) else names
