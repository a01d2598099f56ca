"""Fine-tune a token classifier (named entities, parts of speech) on a data set of the Hub or files of your own.

    accelerate launch examples/run_ner.py --loss square

runs the built-in demo: no data set, no download. A data set of the Hub:

    accelerate launch examples/run_ner.py --dataset_name lhoestq/conll2003 --model_name_or_path bert-base-cased \
        --loss square --learning_rate 2e-5 --num_train_epochs 3 --output_dir outputs/conll-square

Your own files (json or parquet with lists in the columns tokens and ner_tags; csv or tsv with spaces between; or .conll
with a token a line):

    accelerate launch examples/run_ner.py --train_file train.conll --validation_file dev.conll --test_file test.conll \
        --model_name_or_path bert-base-cased --loss square --output_dir outputs/mine

The same command again resumes after a kill. `--loss cross_entropy` trains the baseline through the same path.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes.classification import ClassificationData, balanced_class_weights, name_classes
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import bind_class_weights
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs
from hf_squareloss.recipes.token_arguments import DataArguments, ModelArguments, load_tagger
from hf_squareloss.recipes.token_data import cut_sentences, label_counts, token_data
from hf_squareloss.recipes.token_demo import DEMO_TRAINING, demo_config, demo_tokenizer, lookup_baseline, python_lines
from hf_squareloss.recipes.token_results import token_columns, token_metrics


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments)
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    from_scratch = data_args.is_demo and model_args.model_name_or_path is None
    notice = "No data set and no file given: running the built-in demo, tokens of Python's own sources."
    if data_args.is_demo:
        defaults = {**DEMO_TRAINING, **demo_defaults("tokens", args.loss)}
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
    elif model_args.model_name_or_path is None:
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder")
    start(args, notice if data_args.is_demo else "")

    data = token_data(python_lines()) if data_args.is_demo else data_args.load(model_args)
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits)
    if from_scratch:
        model, tokenizer = demo_model(data)
        loading_info = None
    else:
        model, loading_info, tokenizer, data = load_tagger(
            model_args, data, train=args.do_train, verbose=args.should_log
        )
    model = lora_args.wrap(model, loading_info, train=args.do_train, task_type="TOKEN_CLS")
    with args.main_process_first(desc="tokenizing"):
        encoded = data_args.encode(data, tokenizer, model_args)
    if args.do_train and args.class_weights == "balanced":
        counts = label_counts(encoded["train"], data.num_labels)
        args.class_weights = ",".join(map(repr, balanced_class_weights(counts)))
    pairs = bind_class_weights(args, data)
    for line in (pairs, cut_sentences(encoded)):
        if line and args.should_log:
            print(line)
    inputs = {name: rows.remove_columns("starts") for name, rows in encoded.items()}
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, inputs),
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer, pad_to_multiple_of=8 if args.fp16 else None),
    )
    by_type = data_args.return_entity_level_metrics
    trainer.compute_metrics = partial(token_metrics, data=data, trainer=trainer, by_type=by_type)
    answers = partial(token_columns, data=data, trainer=trainer, encoded=encoded)
    metrics = run_stages(trainer, inputs, (model_args, data_args, lora_args), answers)
    title = "tokens of Python's sources" if data_args.is_demo else data_args.title
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            rows = {
                "test F1": metrics["test_f1"],
                "test F1 by the most frequent tag": lookup_baseline(data),
                "calibration error (ECE)": metrics["test_ece"],
            }
            report_demo(trainer, title, rows, metrics, __file__)
        else:
            report(trainer, title, metrics)
    hub = {"dataset_tags": data_args.dataset_name, "finetuned_from": model_args.model_name_or_path}
    publish(trainer, tasks="token-classification", dataset=title, **hub)
    return metrics


def demo_model(data: ClassificationData) -> tuple[Any, Any]:
    """The demo's model, untrained, and its tokenizer."""
    tokenizer = demo_tokenizer(data.splits["train"])
    config = demo_config(tokenizer)
    name_classes(config, data)
    return AutoModelForTokenClassification.from_config(config), tokenizer


if __name__ == "__main__":
    run_script(main)
