"""Train or fine-tune an image classifier on a data set of the Hub or images of your own, with a loss of your choice.

    accelerate launch examples/run_image_classification.py --loss square

runs the built-in demo: handwritten digits, no data set, no download. Fine-tuning on a data set of the Hub:

    accelerate launch examples/run_image_classification.py --dataset_name ethz/food101 \
        --model_name_or_path google/vit-base-patch16-224-in21k --loss square --learning_rate 5e-5 --num_train_epochs 5 \
        --output_dir outputs/food-square

Images of your own, in a folder for each class (train/cat/1.png), and a small ResNet from scratch:

    accelerate launch examples/run_image_classification.py --train_dir pets/train --validation_dir pets/validation \
        --model_type resnet --config_overrides embedding_size=16 hidden_sizes=[16,32,64] depths=[2,2,2] \
        layer_type=basic --image_size 64 --loss square --learning_rate 1e-3 --output_dir outputs/pets

Lists with the columns image, a path, and label do as well (--train_file and so on). Training images are cropped and
mirrored at random (--augmentations), by the seed, epoch and row alone; torchvision is not needed. The same command
again resumes after a kill. `--loss cross_entropy` trains the baseline through the same path.
"""

from dataclasses import replace
from functools import partial

from transformers import default_data_collator

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes.classification import class_columns, compute_metrics
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.epoch_rows import EpochCallback
from hf_squareloss.recipes.image_arguments import DataArguments, ModelArguments, load_image_classifier
from hf_squareloss.recipes.image_demo import DEMO_TRAINING, handwritten_digits, pixel_baseline
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import fit_loss_to_data
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        own = {"model_type": None} if model_args.is_named else {}
        model_args, data_args, lora_args, args = parse_arguments(
            classes, argv, {**DEMO_TRAINING, **demo_defaults("image", args.loss), **own}
        )
        notice = "No data set and no folder given: running the built-in demo, handwritten digits."
    start(args, notice)

    data = handwritten_digits() if data_args.is_demo else data_args.load_images(model_args)
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits, predict_by_default=data_args.has_own_test)
    with args.main_process_first(desc="reading the images"):
        sizes = data_args.read_sizes(data, model_args)
    model, loading_info, processor, data = load_image_classifier(
        model_args, data, sizes, train=args.do_train, verbose=args.should_log
    )
    model = lora_args.wrap(model, loading_info, train=args.do_train)
    fit_loss_to_data(args, data, train=args.do_train, verbose=args.should_log)
    rows = data_args.rows(data, processor, args.seed)
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, rows),
        processing_class=processor,
        data_collator=default_data_collator,
        callbacks=[EpochCallback(rows["train"])] if args.do_train else [],
    )
    trainer.compute_metrics = partial(compute_metrics, data=data, trainer=trainer)

    answers, options = partial(class_columns, data=data, trainer=trainer), (model_args, data_args, lora_args)
    metrics = run_stages(trainer, rows, options, answers, sources=data.splits, extractor=processor)
    title = "handwritten digits" if data_args.is_demo else data_args.title
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            shown = {
                "test accuracy": metrics["test_accuracy"],
                "test accuracy of logistic regression on the pixels": pixel_baseline(data),
                "calibration error (ECE)": metrics["test_ece"],
                "Brier score": metrics["test_brier"],
            }
            report_demo(trainer, title, shown, metrics, __file__)
        else:
            report(trainer, title, metrics)
    publish(
        trainer,
        tasks="image-classification",
        dataset=title,
        dataset_tags=data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    return metrics


if __name__ == "__main__":
    run_script(main)
