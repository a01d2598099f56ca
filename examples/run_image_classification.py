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

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from transformers import AutoModelForImageClassification, default_data_collator

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes.classification import class_columns, compute_metrics
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.epoch_rows import EpochCallback
from hf_squareloss.recipes.image_demo import DEMO_TRAINING, handwritten_digits, pixel_baseline
from hf_squareloss.recipes.image_encoding import AUGMENTATIONS, Augmentation, ImageRows
from hf_squareloss.recipes.image_models import load_processor, require_rgb, timm_errors
from hf_squareloss.recipes.images import image_sizes
from hf_squareloss.recipes.media_arguments import MediaDataArguments, ScratchModelArguments
from hf_squareloss.recipes.model_classes import settle_classes
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs


@dataclass
class ModelArguments(ScratchModelArguments):
    image_processor_name: str | None = field(default=None, metadata={"help": "Image processor, if not the model's."})
    image_size: int | None = field(
        default=None, metadata={"help": "From scratch: images become squares of so many pixels; default: as they are."}
    )


@dataclass
class DataArguments(MediaDataArguments):
    image_column_name: str = field(default="image", metadata={"help": "Column of the image, in lists its path."})
    image_root: str | None = field(
        default=None, metadata={"help": "Folder at which the paths of lists start; default: the folder of the list."}
    )
    augmentations: list[str] = field(
        default_factory=lambda: list(AUGMENTATIONS),
        metadata={"help": "Random changes of training images: crop, flip, or none."},
    )
    min_crop_area: float = field(default=0.08, metadata={"help": "crop: the least share of the image that is left."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augmentations != ["none"] and not set(self.augmentations) <= set(AUGMENTATIONS):
            raise ValueError(f"augmentations must be of {', '.join(AUGMENTATIONS)}, or none, got {self.augmentations}")
        if not 0 < self.min_crop_area <= 1:
            raise ValueError(f"min_crop_area must be in (0, 1], got {self.min_crop_area}")

    @property
    def augmentation(self) -> Augmentation:
        crop, flip = ("crop" in self.augmentations, "flip" in self.augmentations)
        return Augmentation(crop=crop, flip=flip, min_area=self.min_crop_area)


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, SquareLossTrainingArguments), ""
    model_args, data_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        own = {"model_type": None} if model_args.is_named else {}
        model_args, data_args, args = parse_arguments(
            classes, argv, {**DEMO_TRAINING, **demo_defaults("image", args.loss), **own}
        )
        notice = "No data set and no folder given: running the built-in demo, handwritten digits."
    start(args, notice)

    data = handwritten_digits() if data_args.is_demo else load_data(model_args, data_args)
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits, predict_by_default=data_args.has_own_test)
    model_args.require_one(training=args.do_train)
    with args.main_process_first(desc="reading the images"):
        sizes = {
            split: image_sizes(
                rows,
                split,
                num_proc=data_args.preprocessing_num_workers,
                overwrite=data_args.overwrite_cache,
                cache_dir=model_args.cache_dir,
            )
            for split, rows in data.splits.items()
        }
    with timm_errors(model_args.model_name_or_path):
        config = model_args.load_config()
        require_rgb(config)
        data = settle_classes(args, data, config)
        first = next(iter(sizes.values()))
        processor = load_processor(model_args, model_args.image_processor_name, config, first, model_args.image_size)
        model, _ = model_args.load_model(AutoModelForImageClassification, config)
    rows: Any = {name: ImageRows(split, name, processor) for name, split in data.splits.items()}
    callbacks = []
    if args.do_train:
        rows["train"] = ImageRows(data.splits["train"], "train", processor, data_args.augmentation, args.seed)
        callbacks = [EpochCallback(rows["train"])]
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, rows),
        processing_class=processor,
        data_collator=default_data_collator,
        callbacks=callbacks,
    )
    trainer.compute_metrics = partial(compute_metrics, data=data, trainer=trainer)

    answers = partial(class_columns, data=data, trainer=trainer)
    metrics = run_stages(trainer, rows, (model_args, data_args), answers, sources=data.splits, extractor=processor)
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


def load_data(model_args: ModelArguments, data_args: DataArguments) -> Any:
    return data_args.load("image", data_args.image_column_name, data_args.image_root, model_args)


if __name__ == "__main__":
    run_script(main)
