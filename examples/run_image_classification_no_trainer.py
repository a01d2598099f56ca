"""The same task as run_image_classification.py in a plain Accelerate loop, the loss put on the model by `attach_loss`.

    accelerate launch examples/run_image_classification_no_trainer.py --train_dir pets/train \
        --validation_dir pets/validation --model_name_or_path google/vit-base-patch16-224-in21k --loss square \
        --learning_rate 5e-5 --checkpointing_steps epoch --output_dir outputs/pets

The same command again goes on from the last checkpoint that was written to its end.
"""

from dataclasses import replace

from transformers import default_data_collator

from hf_squareloss import attach_loss
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.image_arguments import DataArguments, ModelArguments, load_image_classifier
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import fit_loss_to_data
from hf_squareloss.recipes.stages import get_split
from hf_squareloss.recipes.training_loop import LoopArguments, run_loop, start_loop


def parse(argv: list[str] | None) -> tuple[LoopArguments, DataArguments, ModelArguments, LoraArguments]:
    classes = (LoopArguments, DataArguments, ModelArguments, LoraArguments)
    loop, data_args, model_args, lora_args = parse_arguments(classes, argv)
    if data_args.is_demo:
        raise ValueError("give the data: --dataset_name, --train_dir and --validation_dir, or --train_file and so on")
    return loop, data_args, model_args, lora_args


def main(argv: list[str] | None = None) -> dict[str, float]:
    loop, data_args, model_args, lora_args = parse(argv)
    accelerator = start_loop(loop)
    first = accelerator.is_main_process
    with accelerator.main_process_first():
        data = data_args.load_images(model_args)
        data = replace(data, splits=data_args.chosen(data.splits, loop.seed))
        for split in ("train", "validation"):
            get_split(data.splits, split)
        sizes = data_args.read_sizes(data, model_args)
    model, loading_info, processor, data = load_image_classifier(model_args, data, sizes, train=True, verbose=first)
    fit_loss_to_data(loop, data, train=True, verbose=first)
    attach_loss(model, loop.make_loss())
    model = lora_args.wrap(model, loading_info, train=True)
    return run_loop(
        accelerator,
        loop,
        model,
        data,
        data_args.rows(data, processor, loop.seed),
        default_data_collator,
        processor=processor,
        options=(data_args, model_args, lora_args),
        predicted=data_args.has_own_test,
        sources=data.splits,
        card={
            "task": "image-classification",
            "auto_class": "AutoModelForImageClassification",
            "dataset_name": data_args.title,
            "dataset": data_args.dataset_name,
            "base_model": model_args.model_name_or_path,
        },
    )


if __name__ == "__main__":
    run_script(main)
