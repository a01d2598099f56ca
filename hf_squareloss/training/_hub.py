"""A Trainer's repository on the Hub: the rights to push, asked before training, and its model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from hf_squareloss.config import has_adapter
from hf_squareloss.heads import Head
from hf_squareloss.losses import Loss
from hf_squareloss.training._model_card import model_card

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


def require_push_rights(repo_id: str, *, token: str | None = None, private: bool | None = None) -> str:
    """Create the model repository if needed and return its full id: a read-only token would fail after the last step.

    Raises:
        ValueError: no token, an invalid one, or one that cannot write to this repository; says which and what to do.
    """
    if (token or get_token()) is None:
        raise ValueError("push_to_hub needs a token and none was found: run `hf auth login`, set HF_TOKEN or hub_token")
    api = HfApi(token=token)
    try:
        user = api.whoami(cache=True)
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise ValueError(f"push_to_hub needs a valid token: {api.endpoint} refuses this one (401)") from error
    try:
        # create_repo(exist_ok=True) takes any readable repository for success (huggingface_hub 2.4): ask once more.
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        api.auth_check(repo_id, write=True)
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403, 404):
            raise
        role = user.get("auth", {}).get("accessToken", {}).get("role")
        reason = "is read-only" if role == "read" else f"(role {role}) has no write access there"
        raise ValueError(f"push_to_hub cannot write to {repo_id}: the token of {user['name']} {reason}") from error
    return repo_id


class HubMixin(_Trainer):
    """What a Trainer tells the Hub of a model trained with a loss of one's choice."""

    _head: Head
    _loss: Loss

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        if self.is_world_process_zero():
            name = self.args.hub_model_id or Path(self.args.output_dir or "").absolute().name
            private = self.args.hub_private_repo if private is None else private
            require_push_rights(name, token=token or self.args.hub_token, private=private)
        super().init_hf_repo(token, private)

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
            if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second", "_time"))
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
            loss=self._loss,
            metrics=metrics,
            task=_first(tasks) or self._head.task,
            auto_class=self._head.auto_class,
            dataset_name=_first(dataset) or "unnamed data",
            dataset=_first(dataset_tags),
            base_model=finetuned_from,
            training=training,
            regression=self._head.num_classes == 1,
            adapter=has_adapter(model),
            language=language,
            license=license,
            tags=[tags] if isinstance(tags, str) else tags,
        )
        (folder / "README.md").write_text(card, encoding="utf8")


def _first(names: str | list[str] | None) -> str | None:
    return names[0] if isinstance(names, list) else names
