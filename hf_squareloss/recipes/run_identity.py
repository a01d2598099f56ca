"""What a run is: everything that makes its weights, kept in its folder and compared before anything is added to it.

Two runs are one where all of this is equal: the training arguments and the script's options, but for the exceptions
below; the loss; the content of the training data; the model's weights and config before the first step.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from hf_squareloss.config import KEY, base_model
from hf_squareloss.recipes.row_names import PLACE
from hf_squareloss.recipes.run_files import RUN, read_object, write_object
from hf_squareloss.training import SquareLossTrainingArguments, newest_weights

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_squareloss.losses import Loss

# Options that cannot change the weights, by the reason.
_EXCEPTIONS = {
    "it says where things are": "output_dir cache_dir overwrite_cache train_file validation_file test_file "
    "train_dir validation_dir test_dir",
    "it is secret": "token hub_token",
    "the content of the training data says more": "max_train_samples train_split_name remove_splits",
    "its choice of rows is for evaluation": "validation_split_name eval_split_name test_split_name max_eval_samples "
    "max_predict_samples",
    "it is in the global batch size": "per_device_train_batch_size gradient_accumulation_steps local_rank",
    "it is in the loss": "loss loss_k loss_M loss_parameters ctc_tau class_weights label_smoothing_factor",
    "it chooses what is done after training": "do_train do_eval do_predict resume_from_checkpoint",
    "it chooses what is measured, and how fast": "per_device_eval_batch_size eval_accumulation_steps eval_metrics "
    "return_entity_level_metrics metric_name record_epochs "
    "prediction_loss_only eval_do_concat_batches eval_use_gather_object include_for_metrics batch_eval_metrics "
    "bf16_full_eval fp16_full_eval predict_with_generate generation_max_length generation_num_beams generation_config",
    "it is for the log": "logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level "
    "log_level_replica log_on_each_node disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id "
    "trackio_static_space_id include_num_input_tokens_seen skip_memory_metrics debug",
    "it is for checkpoints": "checkpointing_steps save_strategy save_steps save_total_limit save_on_each_node "
    "save_only_model "
    "enable_jit_checkpoint restore_callback_states_from_checkpoint metric_for_best_model greater_is_better",
    "it is for the Hub": "push_to_hub hub_model_id hub_private_repo hub_strategy hub_always_push hub_revision",
    "it moves the same batches faster": "dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers "
    "dataloader_prefetch_factor dataloader_multiprocessing_context preprocessing_num_workers torch_empty_cache_steps "
    "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout",
    "it is the machine": "use_cpu",
}
EXCEPTIONS = {name: reason for reason, names in _EXCEPTIONS.items() for name in names.split()}
# With load_best_model_at_end these choose the checkpoint that is the result.
_OF_THE_BEST_MODEL = ("metric_for_best_model", "greater_is_better", "save_strategy", "save_steps")
# What a config says of its file and of the loss is not the model.
_NOT_OF_THE_MODEL = ("_name_or_path", "_commit_hash", "transformers_version", "problem_type", KEY)
_WAY_OUT = "Choose another --output_dir or remove that one"


def run_identity(
    trainer: Trainer,
    options: Iterable[Any],
    train_rows: Dataset,
    validation_rows: Dataset | None = None,
    *,
    extractor: Any = None,
) -> dict[str, Any]:
    """Name -> value of all that makes the run's weights, for JSON.

    Args:
        trainer: before its first step.
        options: the script's dataclasses of arguments other than the training arguments.
        train_rows, validation_rows: their content counts; that of validation where it chooses the best model.
        extractor: the feature extractor that makes the model's inputs.
    """
    args: Any = trainer.args
    return identity_of(
        _training_arguments(args) | option_values(options),
        loss=args.make_loss() if isinstance(args, SquareLossTrainingArguments) else None,
        batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        train_rows=train_rows,
        validation_rows=validation_rows if args.load_best_model_at_end else None,
        tokenizer=trainer.processing_class,
        extractor=extractor,
        model=trainer.model,
    )


def option_values(options: Iterable[Any]) -> dict[str, Any]:
    """Name -> value of the options that count, from dataclasses of arguments."""
    values = {f.name: vars(arguments)[f.name] for arguments in options for f in fields(arguments)}
    # A local file or folder may have moved; its content counts.
    return {name: value for name, value in values.items() if name not in EXCEPTIONS and not _is_local(value)}


def identity_of(
    settings: Mapping[str, Any],
    *,
    loss: Loss | None,
    batch_size: int,
    train_rows: Dataset,
    validation_rows: Dataset | None = None,
    tokenizer: Any = None,
    extractor: Any = None,
    model: Any,
) -> dict[str, Any]:
    """`run_identity` of a loop of one's own.

    Args:
        settings: name -> value of what else makes the weights, as of `option_values`.
        batch_size: examples of one optimizer step, over all processes.
        validation_rows: where they choose the best model.
        model: before its first step.
    """
    identity = {**settings, "global batch size": batch_size}
    if loss is not None:
        identity |= {"loss": loss.to_dict(), "meaning of the loss's parameters": loss.meaning}
    identity["training data"] = content_of_rows(train_rows)
    if validation_rows is not None:
        identity["validation data"] = content_of_rows(validation_rows)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        identity["vocabulary"] = _digest(sorted(tokenizer.get_vocab().items()))
    if extractor is not None:
        identity["feature extractor"] = _digest(extractor.to_dict())
    identity["model before training"] = content_of_model(model)
    return json.loads(json.dumps(identity, default=_for_json))


def refuse_other_run(folder: str | Path, identity: Mapping[str, Any], checkpoint: str | None = None) -> None:
    """ValueError where `folder` holds a run of another identity, or one that does not say which.

    Args:
        checkpoint: one to go on from, whose run must be this one too; that of a folder that does not say is taken.
    """
    if checkpoint is not None and read_run(elsewhere := Path(checkpoint).absolute().parent):
        refuse_other_run(elsewhere, identity)
    there = read_run(folder).get("identity")
    if there is None:
        if (
            newest_weights(folder)
            or any(Path(folder).glob("*.safetensors"))
            or any(Path(folder).glob("pytorch_model*"))
        ):
            raise ValueError(
                f"{folder} already holds a run with no readable {RUN}, which would say what made it. {_WAY_OUT}"
            )
        return
    changed = [
        f"{name}={there[name]!r} there, now {value!r}"
        for name, value in identity.items()
        if name in there and there[name] != value  # a name that one of them lacks came with another release
    ]
    if changed:
        raise ValueError(
            f"{folder} already holds a run with {'; '.join(changed)}. {_WAY_OUT}. "
            f"To start from that run's weights: --model_name_or_path {folder} with another --output_dir"
        )


def read_run(folder: str | Path) -> dict[str, Any]:
    """What `write_run` wrote; empty where there is nothing that can be read."""
    return read_object(Path(folder, RUN))


def write_run(folder: str | Path, **content: Any) -> None:
    """Write the identity, and where the run diverged if it did, in one go."""
    write_object(Path(folder, RUN), content)


def content_of_rows(rows: Dataset) -> str:
    """A digest of all values, in their order: of images and audio the bytes, wherever they are, and their segment."""
    import pyarrow as pa

    digest = hashlib.sha256()
    digest_of = cache(_file_digest)  # of a long recording that has many segments
    table: Any
    for table in rows.with_format("arrow").iter(1000):
        for name in sorted({*table.column_names} - {PLACE}):
            column = table.column(name).combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            digest.update(name.encode())
            parts = {f.name for f in column.type} if pa.types.is_struct(column.type) else set()
            if {"bytes", "path"} <= parts:
                segment = sorted(parts - {"bytes", "path"})
                read = digest_of if segment else Path.read_bytes
                for audio in column:
                    stored = audio["bytes"]
                    content = stored.as_buffer() if stored.is_valid else read(Path(audio["path"].as_py()))
                    digest.update(len(content).to_bytes(8, "big"))
                    digest.update(content)
                    if segment:
                        digest.update(repr([audio[part].as_py() for part in segment]).encode())
            else:
                # Rebased and without padding that means nothing: equal values make equal bytes.
                digest.update(pa.record_batch([column], names=[name]).serialize())
    return digest.hexdigest()[:16]


def content_of_model(model: Any) -> str:
    """A digest of a model's config, adapters, parameters and buffers, and of which of them are trained.

    Under DeepSpeed's ZeRO-3 no process has the parameters, and gathering them would need all processes: the files that
    they were loaded from stand for them, or the commit on the Hub; what is new in a model comes from its seed.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_OF_THE_MODEL}
    peft: Any = sys.modules.get("peft")  # who made an adapter has imported it
    adapters = dict(model.peft_config) if peft and isinstance(model, peft.PeftModel) else {}
    settings = {name: adapter.to_dict() | {"base_model_name_or_path": None} for name, adapter in adapters.items()}
    digest = hashlib.sha256(_digest([type(model).__name__, config, settings]).encode())
    if is_deepspeed_zero3_enabled():
        digest.update(_content_of_files(base_model(model)).encode())
    for name, tensor in sorted([*model.named_parameters(), *model.named_buffers()]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}".encode())
        if not tensor.is_meta:
            values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(values.numpy())
    return digest.hexdigest()[:16]


def _content_of_files(model: Any) -> str:
    """A digest of the weights' files of a model's folder; of one on the Hub its commit."""
    folder = Path(model.name_or_path)
    if not model.name_or_path or not folder.is_dir():
        return str(model.config._commit_hash)  # transformers 5.24 says nowhere else what it has loaded
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        if file.name != "training_args.bin":
            digest.update(file.name.encode() + _file_digest(file))
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _training_arguments(args: TrainingArguments) -> dict[str, Any]:
    kept = args.to_dict()
    if isinstance(args.deepspeed, str):
        kept["deepspeed"] = json.loads(Path(args.deepspeed).read_text(encoding="utf8"))
    decisive = _OF_THE_BEST_MODEL if args.load_best_model_at_end else ()
    return {name: value for name, value in kept.items() if name not in EXCEPTIONS or name in decisive}


def _is_local(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and Path(value).exists()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_for_json).encode()).hexdigest()[:16]


def _for_json(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set) else str(value)
