"""Fine-tune a text classifier on a GLUE task, a data set of the Hub or files of your own, with a loss of your choice.

    accelerate launch examples/run_glue.py --loss square

runs the built-in demo: no data set, no download. A GLUE task by name:

    accelerate launch examples/run_glue.py --task_name mrpc --model_name_or_path bert-base-cased \
        --loss square --learning_rate 2e-5 --num_train_epochs 3 --output_dir outputs/mrpc-square

Your own files (csv, tsv, json or parquet with the columns text, text_pair for pairs, and label):

    accelerate launch examples/run_glue.py --train_file train.tsv --validation_file dev.tsv --test_file test.tsv \
        --model_name_or_path bert-base-cased --loss square --output_dir outputs/mine

`--model_type lstm_attention` or lstm_cnn in place of --model_name_or_path is a recurrent model from scratch, with a
vocabulary of the training texts. The same command again resumes after a kill. `--loss cross_entropy` trains the
baseline through the same path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments, load_config
from hf_squareloss.recipes.arguments import DataSourceArguments, ModelSourceArguments
from hf_squareloss.recipes.classification import (
    ClassificationData,
    balanced_class_weights,
    class_columns,
    class_counts,
    compute_metrics,
    fit_to_model,
    name_classes,
    show_labels,
)
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.demo_encoder import demo_encoder
from hf_squareloss.recipes.from_scratch import FromScratchArguments, classifier_from_scratch
from hf_squareloss.recipes.labels import LABEL_TYPES
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import bind_class_weights, class_difference
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs
from hf_squareloss.recipes.text_data import (
    GLUE_TASKS,
    from_dataset_dict,
    load_files,
    load_glue,
    load_named,
)
from hf_squareloss.recipes.text_demo import DEMO_TRAINING, docstring_topics, tfidf_baseline
from hf_squareloss.recipes.text_encoding import pad_with_end, tokenize


@dataclass
class ModelArguments(FromScratchArguments, ModelSourceArguments):
    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer, if not the model's."})
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head that has another number of classes."}
    )


@dataclass
class DataArguments(DataSourceArguments):
    task_name: str | None = field(default=None, metadata={"help": f"GLUE task: {', '.join(GLUE_TASKS)}."})
    text_column: str = field(default="text", metadata={"help": "Column of the text, for files and dataset_name."})
    text_pair_column: str | None = field(
        default=None, metadata={"help": "Column of the second text of a pair; default: text_pair, where there is one."}
    )
    label_column: str = field(
        default="label",
        metadata={"help": "Column of the label; or several columns of 0 or 1, one per class: toxic,obscene,threat."},
    )
    label_separator: str | None = field(
        default=None, metadata={"help": "A text has any number of classes: what stands between them in the column."}
    )
    label_type: str = field(
        default="auto",
        metadata={"help": "classes or values (a regression); auto: values where all training labels are numbers and "
                          "one is written with a point."},
    )  # fmt: skip
    train_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to train on."})
    validation_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to evaluate on."})
    test_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to predict."})
    max_seq_length: int = field(default=128, metadata={"help": "Longer inputs are cut to this many tokens."})
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad to max_seq_length instead of to the longest text of the batch."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label_type not in LABEL_TYPES:
            raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}, got {self.label_type!r}")
        named = ("train_split_name", "validation_split_name", "test_split_name")
        for option in named if self.dataset_name is None else ():
            if vars(self)[option] is not None:
                raise ValueError(f"{option} would be ignored: it is for dataset_name")
        if self.task_name is not None:
            self.task_name = self.task_name.lower()
            if self.task_name not in GLUE_TASKS:
                raise ValueError(f"no GLUE task is called {self.task_name!r}: there are {', '.join(GLUE_TASKS)}")
            if self.dataset_name or self.files:
                raise ValueError("task_name, dataset_name and files exclude each other: give one")

    @property
    def is_demo(self) -> bool:
        return not (self.task_name or self.dataset_name or self.files)


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    # Texts of one length together: a batch of random ones is half padding.
    model_args, data_args, lora_args, args = parse_arguments(
        classes, argv, {"train_sampling_strategy": "group_by_length"}
    )
    if data_args.is_demo:
        encoder = (
            {} if model_args.model_type else {"model_name_or_path": model_args.model_name_or_path or demo_encoder()}
        )
        defaults = {**DEMO_TRAINING, **demo_defaults("text", args.loss), **encoder}
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
        notice = "No task and no file given: running the built-in demo, topics of Python's own docstrings."
    elif model_args.model_name_or_path is None and model_args.model_type is None:
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder, or --model_type")
    start(args, notice)

    data = load_data(model_args, data_args)
    # The test labels of GLUE are hidden: only a file of one's own is predicted without being asked for.
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits, predict_by_default=data_args.test_file is not None)
    model, loading_info, tokenizer, data = load_model(model_args, args, data)
    model = lora_args.wrap(model, loading_info, train=args.do_train, task_type="SEQ_CLS")
    if args.do_train:
        if args.should_log:
            show_labels(data)
        if args.class_weights == "balanced":
            args.class_weights = ",".join(map(repr, balanced_class_weights(class_counts(data))))
    pairs = bind_class_weights(args, data)
    if pairs and args.do_train and args.should_log:
        print(pairs)
    max_length = min(data_args.max_seq_length, tokenizer.model_max_length)
    with args.main_process_first(desc="tokenizing"):
        encoded = tokenize(
            data,
            tokenizer,
            max_length=max_length,
            pad=data_args.pad_to_max_length,
            overwrite=data_args.overwrite_cache,
            cache_dir=model_args.cache_dir,
        )
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, encoded),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if args.fp16 else None),
    )
    trainer.compute_metrics = partial(compute_metrics, data=data, trainer=trainer)

    options = (model_args, data_args, lora_args)
    metrics = run_stages(trainer, encoded, options, partial(class_columns, data=data, trainer=trainer))
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            report_demo(trainer, task_title(data_args), demo_rows(metrics), metrics, __file__)
        else:
            report(trainer, task_title(data_args), metrics)
    publish(
        trainer,
        tasks="text-classification",
        dataset=task_title(data_args),
        dataset_tags="nyu-mll/glue" if data_args.task_name else data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    return metrics


def load_data(model_args: ModelArguments, data_args: DataArguments) -> ClassificationData:
    if data_args.is_demo:
        return from_dataset_dict(docstring_topics())
    columns = {"text": data_args.text_column, "label": data_args.label_column}
    if data_args.text_pair_column:
        columns["text_pair"] = data_args.text_pair_column
    labels: dict[str, Any] = {"label_type": data_args.label_type, "label_separator": data_args.label_separator}
    if data_args.files:
        return load_files(data_args.files, columns, **labels)
    options: dict[str, Any] = {"cache_dir": model_args.cache_dir, "token": model_args.token}
    if data_args.task_name:
        return load_glue(data_args.task_name, **options)
    names = {
        "train": data_args.train_split_name,
        "validation": data_args.validation_split_name,
        "test": data_args.test_split_name,
    }
    config = data_args.dataset_config_name
    return load_named(data_args.dataset_name or "", config, columns, split_names=names, **labels, **options)


def load_model(
    model_args: ModelArguments, args: SquareLossTrainingArguments, data: ClassificationData
) -> tuple[Any, Any, Any, ClassificationData]:
    """The model with a head for these classes, what its files held, its tokenizer, and the data with class indices."""
    name, hub = model_args.model_name_or_path, model_args.hub
    if name is None:
        given = model_args.tokenizer_name and AutoTokenizer.from_pretrained(model_args.tokenizer_name, **hub)
        model, tokenizer = classifier_from_scratch(model_args, data, given, show=args.should_log)
        return model, None, tokenizer, data
    config = load_config(model_args.config_name or name, **hub)
    model_args.require_same(config)
    difference = class_difference(data, config, training=args.do_train)
    if difference and args.should_log:
        print(difference)
    data = fit_to_model(data, config)
    name_classes(config, data)
    tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, **hub)
    pad_with_end(tokenizer, config)
    model, loading_info = AutoModelForSequenceClassification.from_pretrained(
        name,
        config=config,
        ignore_mismatched_sizes=model_args.ignore_mismatched_sizes,
        output_loading_info=True,
        **model_args.weights,
    )
    return model, loading_info, tokenizer, data


def task_title(data_args: DataArguments) -> str:
    if data_args.is_demo:
        return "Python docstrings by topic"
    return f"GLUE {data_args.task_name.upper()}" if data_args.task_name else data_args.title


def demo_rows(metrics: Mapping[str, float]) -> dict[str, float]:
    return {
        "test accuracy": metrics["test_accuracy"],
        "test accuracy of TF-IDF and logistic regression": tfidf_baseline(docstring_topics()),
        "calibration error (ECE)": metrics["test_ece"],
        "Brier score": metrics["test_brier"],
    }


if __name__ == "__main__":
    run_script(main)
