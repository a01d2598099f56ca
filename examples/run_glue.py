"""Fine-tune a text classifier on a GLUE task, a data set of the Hub or files of your own, with a loss of your choice.

    accelerate launch examples/run_glue.py --loss square

runs the built-in demo: no data set; a small encoder is fetched the first time. A GLUE task by name:

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
from dataclasses import replace
from functools import partial

from transformers import DataCollatorWithPadding

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes.classification import class_columns, compute_metrics
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.demo_encoder import demo_encoder
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import fit_loss_to_data
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs
from hf_squareloss.recipes.text_arguments import DataArguments, ModelArguments, load_classifier
from hf_squareloss.recipes.text_data import from_dataset_dict
from hf_squareloss.recipes.text_demo import DEMO_TRAINING, docstring_topics, tfidf_baseline


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    # Texts of one length together: a batch of random ones is half padding.
    model_args, data_args, lora_args, args = parse_arguments(
        classes, argv, {"train_sampling_strategy": "group_by_length"}
    )
    if data_args.is_demo:
        defaults = {**DEMO_TRAINING, **demo_defaults("text", args.loss)}
        if model_args.model_type is None and model_args.config_name is None:
            defaults["model_name_or_path"] = model_args.model_name_or_path or demo_encoder()
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
        notice = "No task and no file given: running the built-in demo, topics of Python's own docstrings."
    elif not (model_args.model_name_or_path or model_args.model_type or model_args.config_name):
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder, or --model_type")
    start(args, notice)

    data = from_dataset_dict(docstring_topics()) if data_args.is_demo else data_args.load(model_args)
    # The test labels of GLUE are hidden: only a test part that is named is predicted without being asked for.
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits, predict_by_default=data_args.has_own_test)
    model, loading_info, tokenizer, data = load_classifier(
        model_args, data, train=args.do_train, verbose=args.should_log
    )
    model = lora_args.wrap(model, loading_info, train=args.do_train, task_type="SEQ_CLS")
    fit_loss_to_data(args, data, train=args.do_train, verbose=args.should_log)
    with args.main_process_first(desc="tokenizing"):
        encoded = data_args.tokenize(data, tokenizer, model_args)
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, encoded),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if args.fp16 else None),
    )
    trainer.compute_metrics = partial(compute_metrics, data=data, trainer=trainer)

    options = (model_args, data_args, lora_args)
    metrics = run_stages(trainer, encoded, options, partial(class_columns, data=data, trainer=trainer))
    title = "Python docstrings by topic" if data_args.is_demo else data_args.title
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            report_demo(trainer, title, demo_rows(metrics), metrics, __file__)
        else:
            report(trainer, title, metrics)
    publish(
        trainer,
        tasks="text-classification",
        dataset=title,
        dataset_tags=data_args.hub_name,
        finetuned_from=model_args.model_name_or_path,
    )
    return metrics


def demo_rows(metrics: Mapping[str, float]) -> dict[str, float]:
    return {
        "test accuracy": metrics["test_accuracy"],
        "test accuracy of TF-IDF and logistic regression": tfidf_baseline(docstring_topics()),
        "calibration error (ECE)": metrics["test_ece"],
        "Brier score": metrics["test_brier"],
    }


if __name__ == "__main__":
    run_script(main)
