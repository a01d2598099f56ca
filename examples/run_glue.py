"""Fine-tune a text classifier on a GLUE task, a data set of the Hub or files of your own, with a loss of your choice.

    accelerate launch examples/run_glue.py --loss square

runs the built-in demo: no data set, no download. A GLUE task by name:

    accelerate launch examples/run_glue.py --task_name mrpc --model_name_or_path bert-base-cased \
        --loss square --learning_rate 2e-5 --num_train_epochs 3 --output_dir outputs/mrpc-square

Your own files (csv, tsv or json with the columns text, text_pair for pairs, and label):

    accelerate launch examples/run_glue.py --train_file train.tsv --validation_file dev.tsv --test_file test.tsv \
        --model_name_or_path bert-base-cased --loss square --output_dir outputs/mine

The same command again resumes after a kill. `--loss cross_entropy` trains the baseline through the same path.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    set_seed,
)

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments, load_loss
from hf_squareloss.inference import calibration_metrics
from hf_squareloss.recipes.cli import HubArguments, parse_arguments, run_script, show_table
from hf_squareloss.recipes.metrics import TextClassificationMetric
from hf_squareloss.recipes.stages import (
    limited,
    nothing_chosen,
    publish,
    same_demo_with_another_loss,
    save,
    save_predictions,
    shown_metrics,
    train_or_resume,
    trained_loss,
    wanted,
)
from hf_squareloss.recipes.text_data import (
    GLUE_TASKS,
    TextData,
    balanced_class_weights,
    from_dataset_dict,
    load_files,
    load_glue,
    load_named,
    tokenize,
    with_label_order,
)
from hf_squareloss.recipes.text_demo import DEMO_TRAINING, demo_encoder, docstring_topics, tfidf_baseline


@dataclass
class ModelArguments(HubArguments):
    model_name_or_path: str | None = field(default=None, metadata={"help": "A model of the Hub, or a folder."})
    config_name: str | None = field(default=None, metadata={"help": "Configuration, if not the model's."})
    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer, if not the model's."})
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head that has another number of classes."}
    )


@dataclass
class DataArguments:
    task_name: str | None = field(default=None, metadata={"help": f"GLUE task: {', '.join(GLUE_TASKS)}."})
    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "Training data: csv, tsv or json."})
    validation_file: str | None = field(default=None, metadata={"help": "Validation data."})
    test_file: str | None = field(default=None, metadata={"help": "Test data; its labels are optional."})
    text_column: str = field(default="text", metadata={"help": "Column of the text, for files and dataset_name."})
    text_pair_column: str | None = field(
        default=None, metadata={"help": "Column of the second text of a pair; default: text_pair, where there is one."}
    )
    label_column: str = field(default="label", metadata={"help": "Column of the label."})
    max_seq_length: int = field(default=128, metadata={"help": "Longer inputs are cut to this many tokens."})
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad to max_seq_length instead of to the longest text of the batch."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training examples."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many validation examples."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Use only so many test examples."})
    overwrite_cache: bool = field(default=False, metadata={"help": "Tokenize again instead of using the cache."})

    def __post_init__(self) -> None:
        if self.task_name is not None:
            self.task_name = self.task_name.lower()
            if self.task_name not in GLUE_TASKS:
                raise ValueError(f"no GLUE task is called {self.task_name!r}: there are {', '.join(GLUE_TASKS)}")
        sources = [source for source in (self.task_name, self.dataset_name, self.files) if source]
        if len(sources) > 1:
            raise ValueError("task_name, dataset_name and files exclude each other: give one")

    @property
    def files(self) -> dict[str, str]:
        named = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in named.items() if file is not None}

    @property
    def most(self) -> dict[str, int | None]:
        return {
            "train": self.max_train_samples,
            **dict.fromkeys(("validation", "validation_mm"), self.max_eval_samples),
            **dict.fromkeys(("test", "test_mm"), self.max_predict_samples),
        }

    @property
    def is_demo(self) -> bool:
        return not (self.task_name or self.dataset_name or self.files)


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes = (ModelArguments, DataArguments, SquareLossTrainingArguments)
    # Texts of one length together: a batch of random ones is half padding.
    model_args, data_args, args = parse_arguments(classes, argv, {"train_sampling_strategy": "group_by_length"})
    if data_args.is_demo:
        model_args, data_args, args = parse_arguments(classes, argv, demo_defaults(model_args, args))
        if args.should_save:
            print("No task and no file given: running the built-in demo, topics of Python's own docstrings.")
    elif model_args.model_name_or_path is None:
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder")
    logging.basicConfig(level=logging.INFO if args.should_log else logging.WARNING)
    set_seed(args.seed)

    data = load_data(model_args, data_args)
    if nothing_chosen(args):
        args.do_train, args.do_eval = "train" in data.splits, "validation" in data.splits
        args.do_predict = data_args.test_file is not None
    model, tokenizer, data = load_model(model_args, data)
    data = replace(data, splits=limited(data.splits, data_args.most))
    if args.do_train and args.class_weights == "balanced":
        weights = balanced_class_weights(list(wanted(data.splits, "train")["label"]), data.num_labels)
        args.class_weights = ",".join(map(repr, weights))
    max_length = min(data_args.max_seq_length, tokenizer.model_max_length)
    with args.main_process_first(desc="tokenizing"):
        encoded: dict[str, Any] = tokenize(
            data, tokenizer, max_length=max_length, pad=data_args.pad_to_max_length, overwrite=data_args.overwrite_cache
        )
    trainer = SquareLossTrainer(
        model=model,
        args=args,
        loss=trained_loss(args, model),
        train_dataset=wanted(encoded, "train") if args.do_train else None,
        eval_dataset=wanted(encoded, "validation") if args.do_eval else None,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if args.fp16 else None),
        compute_metrics=lambda prediction: compute_metrics(prediction, data, model),
    )

    metrics: dict[str, float] = {}
    if args.do_train:
        metrics |= train_or_resume(trainer, run_settings(model_args, data_args))
    if args.do_eval:
        for split in ("validation", "validation_mm"):
            if split in encoded:
                suffix = split.removeprefix("validation")
                found = trainer.evaluate(encoded[split], metric_key_prefix="eval" + suffix)
                metrics |= save(trainer, "eval" + suffix, found | {f"eval{suffix}_samples": len(encoded[split])})
    if args.do_predict:
        for split in ("test", "test_mm"):
            if split in encoded:
                metrics |= predict(trainer, encoded[split], split, data)

    publish(
        trainer,
        tasks="text-classification",
        dataset=task_title(data_args),
        dataset_tags="nyu-mll/glue" if data_args.task_name else data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    if trainer.is_world_process_zero():
        report(data_args, args, trainer, metrics)
    return metrics


def demo_defaults(model_args: ModelArguments, args: SquareLossTrainingArguments) -> dict[str, Any]:
    return {
        **DEMO_TRAINING,
        "model_name_or_path": model_args.model_name_or_path or demo_encoder(),
        "output_dir": f"outputs/text-demo-{args.loss}",
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_steps": 20,
    }


def run_settings(model_args: ModelArguments, data_args: DataArguments) -> dict[str, Any]:
    """What must be the same for a run to be resumed; the loss is in the model's config."""
    return {
        "task_name": data_args.task_name,
        "dataset_name": data_args.dataset_name,
        "dataset_config_name": data_args.dataset_config_name,
        "train_file": data_args.train_file and Path(data_args.train_file).name,
        "max_train_samples": data_args.max_train_samples,
        "max_seq_length": data_args.max_seq_length,
        "model_name_or_path": model_args.model_name_or_path,
    }


def load_data(model_args: ModelArguments, data_args: DataArguments) -> TextData:
    if data_args.is_demo:
        return from_dataset_dict(docstring_topics())
    columns = {"text": data_args.text_column, "label": data_args.label_column}
    if data_args.text_pair_column:
        columns["text_pair"] = data_args.text_pair_column
    if data_args.files:
        return load_files(data_args.files, columns, cache_dir=model_args.cache_dir)
    options = {"cache_dir": model_args.cache_dir, "token": model_args.token}
    if data_args.task_name:
        return load_glue(data_args.task_name, **options)
    return load_named(data_args.dataset_name or "", data_args.dataset_config_name, columns, **options)


def load_model(model_args: ModelArguments, data: TextData) -> tuple[Any, Any, TextData]:
    """The model with a head for these classes, its tokenizer, and the data with class indices in the model's order."""
    name = model_args.model_name_or_path or ""
    hub = model_args.hub
    config = AutoConfig.from_pretrained(model_args.config_name or name, **hub)
    classes = list((config.id2label or {}).values())
    if data.label_names == []:  # no split has labels: the model knows its classes
        data = replace(data, label_names=classes if len(classes) > 1 else None)
    data = with_label_order(data, classes)
    if data.label_names is not None and data.num_labels == 1:
        raise ValueError(f"all labels are {data.label_names[0]!r}: there is nothing to tell apart")
    config.num_labels = data.num_labels
    if data.label_names is not None:
        config.id2label = dict(enumerate(data.label_names))
        config.label2id = {label: i for i, label in enumerate(data.label_names)}
    tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, **hub)
    if tokenizer.pad_token is None:  # decoders such as GPT-2 and Llama
        tokenizer.pad_token = tokenizer.eos_token
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model = AutoModelForSequenceClassification.from_pretrained(
        name,
        config=config,
        dtype=torch.float32,  # transformers 5 keeps a checkpoint's float16; mixed precision is --bf16 or --fp16
        ignore_mismatched_sizes=model_args.ignore_mismatched_sizes,
        **hub,
    )
    return model, tokenizer, data


def compute_metrics(prediction: EvalPrediction, data: TextData, model: Any) -> dict[str, float]:
    scores = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    references = prediction.label_ids
    metric = TextClassificationMetric(data.metrics, data.num_labels)
    if data.label_names is None:
        found = metric.compute(predictions=np.squeeze(scores, -1), references=references)
        return dict(found or {})
    found = metric.compute(predictions=scores.argmax(-1), references=references)
    probabilities = load_loss(model).probabilities(torch.from_numpy(np.asarray(scores)))
    return dict(found or {}) | calibration_metrics(probabilities, torch.from_numpy(np.asarray(references)))


def predict(trainer: SquareLossTrainer, split: Dataset, name: str, data: TextData) -> dict[str, float]:
    """Predictions into a file, and metrics where the labels are known."""
    result = trainer.predict(split, metric_key_prefix=name)  # type: ignore[arg-type]
    scores = result.predictions[0] if isinstance(result.predictions, tuple) else result.predictions
    if data.label_names is None:
        answers = [f"{value:.6g}" for value in np.squeeze(scores, -1)]
    else:
        answers = [data.label_names[i] for i in scores.argmax(-1)]
    save_predictions(trainer, name, answers)
    return save(trainer, name, (result.metrics or {}) | {f"{name}_samples": len(split)})


def task_title(data_args: DataArguments) -> str:
    if data_args.is_demo:
        return "Python docstrings by topic"
    return f"GLUE {data_args.task_name.upper()}" if data_args.task_name else data_args.dataset_name or "local files"


def report(
    data_args: DataArguments, args: SquareLossTrainingArguments, trainer: SquareLossTrainer, metrics: dict[str, float]
) -> None:
    """The table at the end of the screen."""
    rows: dict[str, Any] = {"loss": str(trainer.loss.to_dict())}
    closing = ""
    if data_args.is_demo and args.do_predict:
        rows |= {
            "test accuracy": metrics["test_accuracy"],
            "test accuracy of TF-IDF and logistic regression": tfidf_baseline(docstring_topics()),
            "calibration error (ECE)": metrics["test_ece"],
            "Brier score": metrics["test_brier"],
            "training time": f"{metrics['train_runtime']:.0f} s" if "train_runtime" in metrics else "done before",
            "the model": args.output_dir,
        }
        closing = same_demo_with_another_loss(__file__, args.loss)
    else:
        rows |= shown_metrics(metrics) | {"the model": args.output_dir}
    show_table(task_title(data_args), rows)
    if closing:
        print(closing)


if __name__ == "__main__":
    run_script(main)
