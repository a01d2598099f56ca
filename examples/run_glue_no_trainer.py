"""The same task as run_glue.py in a plain Accelerate loop: `attach_loss` is the only line that knows of the loss.

    accelerate launch examples/run_glue_no_trainer.py --task_name mrpc --model_name_or_path bert-base-cased \
        --loss square --learning_rate 2e-5 --output_dir outputs/mrpc-no-trainer

    accelerate launch examples/run_glue_no_trainer.py --train_file train.tsv --validation_file dev.tsv \
        --model_name_or_path bert-base-cased --loss square --checkpointing_steps epoch --output_dir outputs/mine

The loop itself is recipes/training_loop.py, which any model with a loss attached can use. The same command again goes
on from the last checkpoint that was written to its end.
"""

from dataclasses import replace

from transformers import DataCollatorWithPadding

from hf_squareloss import attach_loss
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import fit_loss_to_data
from hf_squareloss.recipes.stages import NO_VALIDATION
from hf_squareloss.recipes.text_arguments import DataArguments, ModelArguments, load_classifier
from hf_squareloss.recipes.training_loop import LoopArguments, run_loop, start_loop


def parse(argv: list[str] | None) -> tuple[LoopArguments, DataArguments, ModelArguments, LoraArguments]:
    loop, data, model, lora = parse_arguments((LoopArguments, DataArguments, ModelArguments, LoraArguments), argv)
    if data.is_demo:
        raise ValueError("give the data: --task_name, --dataset_name, or --train_file and --validation_file")
    if not (model.model_name_or_path or model.model_type or model.config_name):
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder, or --model_type")
    return loop, data, model, lora


def main(argv: list[str] | None = None) -> dict[str, float]:
    loop, data_args, model_args, lora_args = parse(argv)
    accelerator = start_loop(loop)
    first = accelerator.is_main_process
    with accelerator.main_process_first():
        data = data_args.load(model_args)
        data = replace(data, splits=data_args.chosen(data.splits, loop.seed))
        if not {"train", "validation"} <= data.splits.keys():
            raise ValueError(f"there must be a train and a validation split: {NO_VALIDATION}")
        model, loading_info, tokenizer, data = load_classifier(model_args, data, train=True, verbose=first)
        splits = data_args.tokenize(data, tokenizer, model_args)
    fit_loss_to_data(loop, data, train=True, verbose=first)
    attach_loss(model, loop.make_loss())
    model = lora_args.wrap(model, loading_info, train=True, task_type="SEQ_CLS")
    return run_loop(
        accelerator,
        loop,
        model,
        data,
        splits,
        DataCollatorWithPadding(tokenizer),
        processor=tokenizer,
        options=(data_args, model_args, lora_args),
        predicted=bool(data_args.test_file or data_args.test_split_name),  # the test labels of GLUE are hidden
        card={
            "dataset_name": data_args.title,
            "dataset": data_args.hub_name,
            "base_model": model_args.model_name_or_path,
        },
    )


if __name__ == "__main__":
    run_script(main)
