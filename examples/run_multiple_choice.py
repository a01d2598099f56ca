"""Fine-tune a model for multiple choice, such as SWAG, on a data set of the Hub or files of your own.

    accelerate launch examples/run_multiple_choice.py --loss square

runs the built-in demo: no data set, no download but a small encoder. SWAG:

    accelerate launch examples/run_multiple_choice.py --dataset_name allenai/swag --dataset_config_name regular \
        --model_name_or_path bert-base-cased --loss square --learning_rate 5e-5 --output_dir outputs/swag-square

Your own files (csv, tsv, json or parquet with the columns sent1, perhaps sent2, ending0, ending1, ..., and label):

    accelerate launch examples/run_multiple_choice.py --train_file train.csv --validation_file dev.csv \
        --model_name_or_path bert-base-cased --loss square --output_dir outputs/mine

The same command again resumes after a kill. `--loss cross_entropy` trains the baseline through the same path.
"""

from dataclasses import replace
from functools import partial

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes.choice_arguments import DataArguments, ModelArguments, load_chooser
from hf_squareloss.recipes.choice_data import ChoiceCollator, choice_data, cut_choices
from hf_squareloss.recipes.choice_demo import DEMO_TRAINING, docstring_endings, similarity_baseline
from hf_squareloss.recipes.classification import class_columns, compute_metrics
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.demo_encoder import demo_encoder
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        encoder = {"model_name_or_path": model_args.model_name_or_path or demo_encoder()}
        defaults = {**DEMO_TRAINING, **demo_defaults("choice", args.loss), **encoder}
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
        notice = "No data set and no file given: running the built-in demo, which sentence goes on with a docstring."
    elif model_args.model_name_or_path is None:
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder")
    start(args, notice)
    if args.class_weights is not None:
        raise ValueError("class_weights would weigh places of choices, which mean nothing: leave it out")

    data = choice_data(docstring_endings()) if data_args.is_demo else data_args.load(model_args)
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits)
    model, loading_info, tokenizer = load_chooser(model_args)
    model = lora_args.wrap(model, loading_info, train=args.do_train)
    with args.main_process_first(desc="tokenizing"):
        encoded = data_args.encode(data, tokenizer, model_args)
    if args.should_log and (cut := cut_choices(encoded)):
        print(cut)
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, encoded),
        processing_class=tokenizer,
        data_collator=ChoiceCollator(tokenizer, pad_to_multiple_of=8 if args.fp16 else None),
    )
    trainer.compute_metrics = partial(compute_metrics, data=data, trainer=trainer)

    answers = partial(class_columns, data=data, trainer=trainer)
    metrics = run_stages(trainer, encoded, (model_args, data_args, lora_args), answers)
    title = "which sentence goes on with a docstring" if data_args.is_demo else data_args.title
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            rows = {
                "test accuracy": metrics["test_accuracy"],
                "test accuracy by like words": similarity_baseline(data),
                "calibration error (ECE)": metrics["test_ece"],
            }
            report_demo(trainer, title, rows, metrics, __file__)
        else:
            report(trainer, title, metrics)
    hub = {"dataset_tags": data_args.dataset_name, "finetuned_from": model_args.model_name_or_path}
    publish(trainer, tasks="multiple-choice", dataset=title, **hub)
    return metrics


if __name__ == "__main__":
    run_script(main)
