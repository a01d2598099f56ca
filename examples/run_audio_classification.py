"""Train or fine-tune an audio classifier on a data set of the Hub or sounds of your own, with a loss of your choice.

    accelerate launch examples/run_audio_classification.py --loss square

runs the built-in demo: which key of a telephone was pressed, no data set, no download. Keyword spotting:

    accelerate launch examples/run_audio_classification.py --train_dir keywords/train \
        --validation_dir keywords/validation --model_name_or_path facebook/wav2vec2-base --freeze_feature_encoder \
        --max_length_seconds 1 --loss square --learning_rate 3e-5 --num_train_epochs 5 --output_dir outputs/keywords

The sounds lie in a folder for each class (train/dog/1.wav). Lists with the columns audio, a path, and label do as well
(--train_file, --validation_file, which is the official script's --eval_file, and --test_file), and so do data sets of
the Hub (--dataset_name). A spectrogram transformer, already trained:

    accelerate launch examples/run_audio_classification.py --train_dir barks/train --validation_dir barks/validation \
        --model_name_or_path MIT/ast-finetuned-audioset-10-10-0.4593 --ignore_mismatched_sizes --loss square \
        --learning_rate 3e-5 --output_dir outputs/barks

Sounds of any rate are resampled to the model's; in training longer ones are cut at a random place, by the seed, epoch
and row alone. The same command again resumes after a kill. `--loss cross_entropy` trains the baseline through the same
path.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from transformers import AutoModelForAudioClassification

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.recipes.arguments import require_lists
from hf_squareloss.recipes.audio_demo import DEMO_TRAINING, demo_classifier, filter_baseline, key_tones
from hf_squareloss.recipes.classification import ClassificationData, class_columns, compute_metrics
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.ctc_data import mask_length_of
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.epoch_rows import EpochCallback
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.media_arguments import MediaDataArguments, ScratchModelArguments
from hf_squareloss.recipes.model_classes import fit_classes, fit_loss_to_data
from hf_squareloss.recipes.sound_rows import (
    SoundCollator,
    SoundRows,
    load_extractor,
    read_waveforms,
    show_unheard,
    usable_sounds,
)
from hf_squareloss.recipes.speech_encoding import heard_seconds
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs
from hf_squareloss.recipes.unpadded import UnpaddedTrainer


@dataclass
class ModelArguments(ScratchModelArguments):
    feature_extractor_name: str | None = field(
        default=None, metadata={"help": "Feature extractor, if not the model's."}
    )
    freeze_feature_encoder: bool = field(
        default=False, metadata={"help": "Do not train the convolutions on the waveform."}
    )
    attention_mask: bool | None = field(
        default=None,
        metadata={"help": "Give the model the mask of what is no padding; default: as its extractor says."},
    )


@dataclass
class DataArguments(MediaDataArguments):
    audio_column_name: str = field(default="audio", metadata={"help": "Column of the audio, in lists its path."})
    audio_root: str | None = field(
        default=None, metadata={"help": "Folder at which the paths of lists start; default: the folder of the list."}
    )
    max_length_seconds: float = field(
        default=20.0,
        metadata={
            "help": "In training longer sounds are cut to this length, or what the model hears, at a random place."
        },
    )
    min_duration_in_seconds: float = field(default=0.0, metadata={"help": "Leave shorter training audio out."})
    skip_bad_utterances: bool = field(
        default=False, metadata={"help": "Leave training and validation sounds that cannot be used out."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lists(self, "audio_root")
        if self.max_length_seconds <= 0:
            raise ValueError(f"max_length_seconds must be positive, got {self.max_length_seconds}")


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        defaults = {**DEMO_TRAINING, **demo_defaults("audio", args.loss)}
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
        notice = "No data set and no folder given: running the built-in demo, the keys of a telephone."
    start(args, notice)

    demo_model = data_args.is_demo and not model_args.is_named
    data = load_data(model_args, data_args)
    data = replace(data, splits=data_args.chosen(data.splits, args.seed))
    choose_stages(args, data.splits, predict_by_default=data_args.has_own_test)
    if not demo_model:
        model_args.require_one(training=args.do_train)
    config = demo_classifier() if demo_model else model_args.load_config()
    source = model_args.feature_extractor_name or model_args.model_name_or_path or model_args.config_name
    extractor = load_extractor(source, config, model_args.hub)
    with args.main_process_first(desc="reading the audio"):
        sounds, data = read_waveforms(
            data,
            extractor.sampling_rate,
            min_seconds=data_args.min_duration_in_seconds,
            num_proc=data_args.preprocessing_num_workers,
            overwrite=data_args.overwrite_cache,
            cache_dir=model_args.cache_dir,
            skip_bad=data_args.skip_bad_utterances,
        )
    data = fit_classes(data, config, train=args.do_train, verbose=args.should_log)
    model, loading_info = load_model(model_args, config)
    sounds, data = usable_sounds(
        model,
        extractor,
        sounds,
        data,
        mask_length=mask_length_of(config) if args.do_train else 1,
        skip_bad=data_args.skip_bad_utterances,
    )
    fit_loss_to_data(args, data, train=args.do_train, verbose=args.should_log)
    model = lora_args.wrap(model, loading_info, train=args.do_train)
    heard = heard_seconds(config, extractor)
    show_unheard(sounds, heard, extractor.sampling_rate)
    most = round(min(data_args.max_length_seconds, heard) * extractor.sampling_rate)
    rows: Any = {
        name: SoundRows(
            sounds[name],
            split["label"][:] if "label" in split.column_names else None,
            most if name == "train" else None,
            args.seed,
        )
        for name, split in data.splits.items()
    }
    args.remove_unused_columns = False  # the collator makes the model's inputs of waveforms
    trainer = UnpaddedTrainer(
        **trainer_inputs(args, model, rows),
        processing_class=extractor,
        data_collator=SoundCollator(extractor, model_args.attention_mask),
        callbacks=[EpochCallback(rows["train"])] if args.do_train else [],
    )
    trainer.compute_metrics = partial(compute_metrics, data=data, trainer=trainer)

    answers, options = partial(class_columns, data=data, trainer=trainer), (model_args, data_args, lora_args)
    metrics = run_stages(trainer, rows, options, answers, sources=data.splits, extractor=extractor)
    title = "keys of a telephone" if data_args.is_demo else data_args.title
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            report_demo(trainer, title, demo_rows(metrics, data), metrics, __file__)
        else:
            report(trainer, title, metrics)
    publish(
        trainer,
        tasks="audio-classification",
        dataset=title,
        dataset_tags=data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    return metrics


def load_data(model_args: ModelArguments, data_args: DataArguments) -> ClassificationData:
    if data_args.is_demo:
        return key_tones()
    return data_args.load("audio", data_args.audio_column_name, data_args.audio_root, model_args)


def load_model(model_args: ModelArguments, config: Any) -> tuple[Any, Any]:
    """The model, and what its files held."""
    model, loading_info = model_args.load_model(AutoModelForAudioClassification, config)
    if model_args.freeze_feature_encoder:
        if "freeze_feature_encoder" not in dir(model):
            raise ValueError(f"freeze_feature_encoder would be ignored: a {type(model).__name__} has no such part")
        model.freeze_feature_encoder()
    return model, loading_info


def demo_rows(metrics: dict[str, float], data: ClassificationData) -> dict[str, float]:
    return {
        "test accuracy": metrics["test_accuracy"],
        "test accuracy of the strongest frequencies": filter_baseline(data),
        "calibration error (ECE)": metrics["test_ece"],
        "Brier score": metrics["test_brier"],
    }


if __name__ == "__main__":
    run_script(main)
