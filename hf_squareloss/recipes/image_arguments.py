"""Arguments of the image classification examples, with and without a Trainer, and the classifier that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForImageClassification

from hf_squareloss.recipes.arguments import require_lists, require_positive
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.image_encoding import AUGMENTATIONS, Augmentation, ImageRows
from hf_squareloss.recipes.image_models import count_classes_once, load_processor, require_rgb, timm_errors
from hf_squareloss.recipes.images import image_sizes
from hf_squareloss.recipes.media_arguments import MediaDataArguments, ScratchModelArguments
from hf_squareloss.recipes.model_classes import fit_classes

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class ModelArguments(ScratchModelArguments):
    """An image classifier, for `HfArgumentParser`."""

    image_processor_name: str | None = field(default=None, metadata={"help": "Image processor, if not the model's."})
    image_size: int | None = field(
        default=None, metadata={"help": "From scratch: images become squares of so many pixels; default: as they are."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "image_size")


@dataclass
class DataArguments(MediaDataArguments):
    """Images by class, and how they are changed at random, for `HfArgumentParser`."""

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
        require_lists(self, "image_root")
        if self.augmentations != ["none"] and not set(self.augmentations) <= set(AUGMENTATIONS):
            raise ValueError(f"augmentations must be of {', '.join(AUGMENTATIONS)}, or none, got {self.augmentations}")
        if not 0 < self.min_crop_area <= 1:
            raise ValueError(f"min_crop_area must be in (0, 1], got {self.min_crop_area}")

    @property
    def augmentation(self) -> Augmentation:
        """The random changes that these arguments name."""
        crop, flip = ("crop" in self.augmentations, "flip" in self.augmentations)
        return Augmentation(crop=crop, flip=flip, min_area=self.min_crop_area)

    def load_images(self, model_args: ModelArguments) -> ClassificationData:
        """The data that these arguments name."""
        return self.load("image", self.image_column_name, self.image_root, model_args)

    def read_sizes(self, data: ClassificationData, model_args: ModelArguments) -> set[tuple[int, int]]:
        """All (width, height) of the images of the first split. ValueError for images that cannot be read, by name."""
        options: dict[str, Any] = {"num_proc": self.preprocessing_num_workers, "overwrite": self.overwrite_cache}
        options["cache_dir"] = model_args.cache_dir
        return next(iter([image_sizes(rows, split, **options) for split, rows in data.splits.items()]))

    def rows(self, data: ClassificationData, processor: Any, seed: int) -> dict[str, Any]:
        """The splits as pixel values, those of training with the random changes."""
        changed = {"train": self.augmentation}
        return {name: ImageRows(split, name, processor, changed.get(name), seed) for name, split in data.splits.items()}


def load_image_classifier(
    model_args: ModelArguments,
    data: ClassificationData,
    sizes: set[tuple[int, int]],
    *,
    train: bool,
    verbose: bool,
) -> tuple[PreTrainedModel, Any, Any, ClassificationData]:
    """The model with a head for these classes, what its files held, its processor, and the data with class indices.

    Args:
        sizes: (width, height) of the images, for a new processor.
        train, verbose: as for `fit_classes`.

    Raises:
        ValueError: no model is named, or it is not of RGB images, or timm does not load, or as `fit_classes`.
    """
    model_args.require_one(training=train)
    with timm_errors(model_args.model_name_or_path):
        config = model_args.load_config()
        require_rgb(config)
        count_classes_once(config)
        data = fit_classes(data, config, train=train, verbose=verbose)
        processor = load_processor(model_args, model_args.image_processor_name, config, sizes, model_args.image_size)
        model, loading_info = model_args.load_model(AutoModelForImageClassification, config)
    return model, loading_info, processor, data
