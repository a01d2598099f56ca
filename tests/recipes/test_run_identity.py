"""What tells one run from another: everything that makes its weights, and nothing else."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_text_model import save_tiny_model
from transformers import AutoModelForSequenceClassification, Seq2SeqTrainingArguments

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes import run_identity as run_identity_module
from hf_squareloss.recipes.run_files import RUN
from hf_squareloss.recipes.run_identity import (
    EXCEPTIONS,
    content_of_model,
    content_of_rows,
    read_run,
    refuse_other_run,
    run_identity,
    write_run,
)

ROWS = {"input_ids": [[1, 2], [3, 4], [5, 6]] * 4, "labels": [0, 1, 0] * 4}


@dataclass
class Options:
    model_name_or_path: str = "a/b"
    text_column: str = "text"
    train_file: str = "fold1/train.csv"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def identity(model_folder: Path, tmp_path: Path) -> Any:
    def of(
        rows: Mapping[str, Any] = ROWS, options: Options | None = None, change: Any = None, **arguments: Any
    ) -> dict[str, Any]:
        given = {"output_dir": str(tmp_path), "use_cpu": True, "max_steps": 2, **arguments}
        model = AutoModelForSequenceClassification.from_pretrained(model_folder)
        if change is not None:
            change(model)
        data = Dataset.from_dict(dict(rows))
        trainer = SquareLossTrainer(model, SquareLossTrainingArguments(**given), train_dataset=data, eval_dataset=data)
        return run_identity(trainer, [options or Options()], data, data)

    return of


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def test_the_same_run_is_the_same(identity: Any) -> None:
    assert identity() == identity()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"weight_decay": 0.1}, {"weight_decay"}),
        ({"optim": "sgd"}, {"optim"}),
        ({"lr_scheduler_type": "constant"}, {"lr_scheduler_type"}),
        ({"warmup_steps": 5}, {"warmup_steps"}),
        ({"max_grad_norm": 1e-6}, {"max_grad_norm"}),
        ({"seed": 7}, {"seed"}),
        ({"eval_strategy": "steps", "eval_steps": 1}, {"eval_strategy", "eval_steps"}),  # it draws random numbers
        ({"loss": "cross_entropy"}, {"loss", "meaning of the loss's parameters"}),
        ({"loss_k": "2"}, {"loss"}),
        ({"loss_parameters": ["label_smoothing=0.1"]}, {"loss"}),
        ({"label_smoothing_factor": 0.1}, {"loss"}),
        ({"class_weights": "1,2"}, {"loss"}),
        ({"per_device_train_batch_size": 4}, {"global batch size"}),
    ],
)
def test_what_makes_the_weights(arguments: dict[str, Any], names: set[str], identity: Any) -> None:
    assert differences(identity(), identity(**arguments)) == names


@pytest.mark.parametrize(
    "arguments",
    [
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        {"logging_steps": 7, "report_to": "none", "disable_tqdm": True, "run_name": "another"},
        {"save_steps": 3, "save_total_limit": 2, "save_only_model": True, "enable_jit_checkpoint": True},
        {"per_device_eval_batch_size": 3, "dataloader_num_workers": 1, "do_predict": True},
    ],
)
def test_what_does_not(arguments: dict[str, Any], identity: Any) -> None:
    assert differences(identity(), identity(**arguments)) == set()


def test_what_chooses_the_best_model_counts_where_one_is_chosen(identity: Any) -> None:
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}
    other = identity(**best, metric_for_best_model="accuracy")
    assert differences(identity(**best), other) == {"metric_for_best_model", "greater_is_better"}
    assert other["validation data"] == other["training data"] and "validation data" not in identity()


def test_a_segment_counts_by_its_file_and_its_place(tmp_path: Path) -> None:
    for name, content in (("a.wav", b"1"), ("moved.wav", b"1"), ("other.wav", b"2")):
        (tmp_path / name).write_bytes(content)

    def content_of(file: str, **segment: float | None) -> str:
        audio = {"path": str(tmp_path / file), "bytes": None, "offset": 0.5, "duration": 2.0, **segment}
        return content_of_rows(Dataset.from_dict({"audio": [audio]}))

    assert content_of("a.wav") == content_of("moved.wav")
    others = [content_of("other.wav"), content_of("a.wav", offset=0.6), content_of("a.wav", duration=2.1)]
    assert len({content_of("a.wav"), *others}) == 4


def test_data_and_model_count_by_content(identity: Any, tmp_path: Path, model_folder: Path) -> None:
    plain = identity()
    relabelled = identity({**ROWS, "labels": [1, 1, 0] * 4})
    assert differences(plain, relabelled) == {"training data"}
    assert differences(plain, identity(options=Options(train_file="moved/train.csv"))) == set()
    assert differences(plain, identity(options=Options(text_column="other"))) == {"text_column"}
    # A local model may move; its weights and config count.
    local = identity(options=Options(model_name_or_path=str(model_folder)))
    assert differences(plain, local) == {"model_name_or_path"} and str(model_folder) not in json.dumps(local)

    def trained(model: Any) -> None:
        with torch.no_grad():
            model.classifier.bias += 1e-3

    def frozen(model: Any) -> None:
        model.bert.requires_grad_(False)

    def with_dropout(model: Any) -> None:
        model.config.hidden_dropout_prob = 0.5

    for change in (trained, frozen, with_dropout):
        assert differences(plain, identity(change=change)) == {"model before training"}


def test_every_exception_is_an_argument_and_every_reason_is_given() -> None:
    known = {f.name for f in (*fields(SquareLossTrainingArguments), *fields(Seq2SeqTrainingArguments))}
    scripts = {
        *("return_entity_level_metrics", "metric_name", "remove_splits", "record_epochs"),
        *("cache_dir", "overwrite_cache", "token", "preprocessing_num_workers", "eval_metrics", "checkpointing_steps"),
        *(f"{split}_{place}" for split in ("train", "validation", "test") for place in ("file", "dir")),
        *(f"{split}_split_name" for split in ("train", "validation", "eval", "test")),
        *(f"max_{part}_samples" for part in ("train", "eval", "predict")),
    }
    assert EXCEPTIONS.keys() <= known | scripts
    assert all(EXCEPTIONS.values())


def test_rows_by_their_values_alone(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, None, 1, 0]})
    again = Dataset.from_dict({"text": ["x", "a", "b", "c", "d"], "label": [5, 0, None, 1, 0]}).select(range(1, 5))
    picked = Dataset.from_dict({"text": ["d", "c", "b", "a"], "label": [0, 1, None, 0]}).select([3, 2, 1, 0])
    rows.to_parquet(tmp_path / "rows.parquet")
    read = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path))
    assert {content_of_rows(same) for same in (rows, again, picked, read)} == {content_of_rows(rows)}  # type: ignore[arg-type]
    for other in (rows.select([1, 0, 2, 3]), rows.select(range(3)), rows.rename_column("text", "words")):
        assert content_of_rows(other) != content_of_rows(rows)


def test_audio_by_its_bytes(tmp_path: Path) -> None:
    for name, content in (("a.wav", b"sound"), ("b.wav", b"other")):
        (tmp_path / name).write_bytes(content)

    def rows(path: str | None, content: bytes | None = None) -> Dataset:
        return Dataset.from_dict({"audio": [{"path": path, "bytes": content}], "text": ["yes"]})

    listed = content_of_rows(rows(str(tmp_path / "a.wav")))
    assert listed == content_of_rows(rows(None, b"sound")) != content_of_rows(rows(str(tmp_path / "b.wav")))
    (tmp_path / "a.wav").write_bytes(b"other")
    assert listed != content_of_rows(rows(str(tmp_path / "a.wav")))


def test_types_of_models_differ(model_folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    before = content_of_model(model)
    assert content_of_model(model.double()) != before


def test_parameters_that_no_process_has_count_by_their_files(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, other = (Path(shutil.copytree(model_folder, tmp_path / name)) for name in ("moved", "other"))
    changed = AutoModelForSequenceClassification.from_pretrained(other)
    with torch.no_grad():
        changed.classifier.bias += 1e-3
    changed.save_pretrained(other)

    def partitioned(folder: Path, commit: str | None = None) -> str:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = torch.empty(0)  # as DeepSpeed's ZeRO-3 leaves them
        if commit:
            model.name_or_path, model.config._commit_hash = "user/name", commit
        return content_of_model(model)

    assert partitioned(model_folder) == partitioned(other)  # what the files are for
    monkeypatch.setattr(run_identity_module, "is_deepspeed_zero3_enabled", lambda: True)
    assert partitioned(model_folder) == partitioned(moved) != partitioned(other)
    assert partitioned(moved, "abc") == partitioned(other, "abc") != partitioned(other, "def")


def test_another_run_is_refused_by_name_with_the_way_out(tmp_path: Path) -> None:
    refuse_other_run(tmp_path, {"seed": 1})  # nothing is there
    write_run(tmp_path, identity={"seed": 1, "optim": "adamw", "of an older release": 1})
    refuse_other_run(tmp_path, {"seed": 1, "optim": "adamw", "of a newer release": 2})
    with pytest.raises(ValueError, match="seed=1 there, now 2; optim='adamw' there, now 'sgd'.*--output_dir"):
        refuse_other_run(tmp_path, {"seed": 2, "optim": "sgd"})


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_a_run_that_does_not_say_what_made_it_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / RUN).write_text(content)
    assert read_run(tmp_path) == {}
    refuse_other_run(tmp_path, {"seed": 1})  # no model is there to be taken for ours
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=f"no readable {RUN}"):
        refuse_other_run(tmp_path, {"seed": 1})
