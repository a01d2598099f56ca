"""Train or fine-tune a CTC speech recogniser on a data set of the Hub or files of your own, with a loss of your choice.

    accelerate launch examples/run_speech_recognition_ctc.py --loss square

runs the built-in demo: telephone dial tones, no data set, no download. Fine-tuning, with a vocabulary made from the
characters of the training transcripts:

    accelerate launch examples/run_speech_recognition_ctc.py --dataset_name google/fleurs --dataset_config_name de_de \
        --text_column_name transcription --model_name_or_path facebook/wav2vec2-xls-r-300m --freeze_feature_encoder \
        --chars_to_ignore , ? . ! - --max_duration_in_seconds 20 --train_sampling_strategy group_by_length \
        --loss square --learning_rate 3e-4 --warmup_steps 500 --num_train_epochs 15 --output_dir outputs/fleurs-square

Lists of your own (csv, tsv or json with the columns audio, a path, and text), a model from scratch: --config_name is a
config.json, or a folder that may have a preprocessor_config.json too.

    accelerate launch examples/run_speech_recognition_ctc.py --config_name my-small-wav2vec2 --train_file train.tsv \
        --validation_file dev.tsv --test_file test.tsv --loss square --learning_rate 1e-3 --output_dir outputs/mine

The path may also be that of a .npy file: a waveform at the model's rate, or features (frames, dims) for models that
take features. The same command again resumes after a kill. `--loss cross_entropy` is ordinary CTC, trained through the
same path. Of the official script, phoneme_language (it needs espeak) and ctc_loss_reduction are missing: the loss is
the mean over utterances, whatever the model's config says.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForCTC,
    AutoTokenizer,
    EvalPrediction,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    set_seed,
)

import hf_squareloss.blstm  # noqa: F401  the model type "blstm" of --config_name
from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.heads import ctc_frames
from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.cli import HubArguments, parse_arguments, run_script, show_table
from hf_squareloss.recipes.ctc_data import character_tokenizer, require_frames
from hf_squareloss.recipes.metrics import SpeechRecognitionMetric
from hf_squareloss.recipes.speech_arguments import SpeechDataArguments
from hf_squareloss.recipes.speech_demo import DEMO_TRAINING, demo_model, dial_tones
from hf_squareloss.recipes.speech_encoding import SpeechCollator, SpeechEncoder
from hf_squareloss.recipes.speech_files import (
    case_of,
    encode_text,
    normalize_texts,
)
from hf_squareloss.recipes.stages import (
    nothing_chosen,
    publish,
    same_demo_with_another_loss,
    save,
    save_predictions,
    shown_metrics,
    train_or_resume,
    trained_loss,
    wanted,
)


@dataclass
class ModelArguments(HubArguments):
    model_name_or_path: str | None = field(default=None, metadata={"help": "A model of the Hub, or a folder."})
    config_name: str | None = field(
        default=None, metadata={"help": "Without a model, one is made from this configuration: a folder or a file."}
    )
    tokenizer_name_or_path: str | None = field(
        default=None, metadata={"help": "Tokenizer; default: in training one is made from the transcripts."}
    )
    feature_extractor_name: str | None = field(
        default=None, metadata={"help": "Feature extractor, if not the model's or the configuration's."}
    )
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head that has another vocabulary."}
    )
    freeze_feature_encoder: bool = field(
        default=False, metadata={"help": "Do not train the convolutions on the waveform."}
    )
    attention_dropout: float | None = field(default=None, metadata={"help": "Default, here and below: the model's."})
    activation_dropout: float | None = field(default=None, metadata={"help": "Dropout inside the feed-forward layers."})
    feat_proj_dropout: float | None = field(default=None, metadata={"help": "Dropout of the projected features."})
    hidden_dropout: float | None = field(default=None, metadata={"help": "Dropout of the hidden states."})
    final_dropout: float | None = field(default=None, metadata={"help": "Dropout before the head."})
    layerdrop: float | None = field(default=None, metadata={"help": "Probability of leaving a layer out."})
    mask_time_prob: float | None = field(
        default=None, metadata={"help": "SpecAugment: about this share of the frames is masked."}
    )
    mask_time_length: int | None = field(default=None, metadata={"help": "SpecAugment: frames per mask."})
    mask_feature_prob: float | None = field(
        default=None, metadata={"help": "SpecAugment: about this share of the features is masked."}
    )
    mask_feature_length: int | None = field(default=None, metadata={"help": "SpecAugment: features per mask."})
    add_adapter: bool | None = field(default=None, metadata={"help": "Convolutions that shorten the output."})
    ctc_zero_infinity: bool = field(
        default=False, metadata={"help": "Keep utterances with too few frames for their text; their loss is 0."}
    )

    @property
    def config_changes(self) -> dict[str, Any]:
        names = (
            *("attention_dropout", "activation_dropout", "feat_proj_dropout", "hidden_dropout", "final_dropout"),
            *("layerdrop", "mask_time_prob", "mask_time_length", "mask_feature_prob", "mask_feature_length"),
            "add_adapter",
        )
        return {name: value for name in names if (value := vars(self)[name]) is not None}


@dataclass
class DataArguments(SpeechDataArguments):
    chars_to_ignore: list[str] | None = field(default=None, metadata={"help": "Characters to leave out of the texts."})
    eval_metrics: list[str] = field(default_factory=lambda: ["wer", "cer"], metadata={"help": "wer, cer."})
    unk_token: str = field(default="[UNK]", metadata={"help": "Token of unknown characters."})
    pad_token: str = field(default="[PAD]", metadata={"help": "Padding token, and the blank of CTC."})
    word_delimiter_token: str = field(default="|", metadata={"help": "Token of the space."})
    max_duration_in_seconds: float | None = field(
        default=None, metadata={"help": "Leave longer training audio out; default: no limit."}
    )
    stack_frames: int = field(default=1, metadata={"help": "Stored features: so many frames become one."})

    def __post_init__(self) -> None:
        super().__post_init__()
        SpeechRecognitionMetric(self.eval_metrics)
        if self.stack_frames < 1:
            raise ValueError(f"stack_frames must be at least 1, got {self.stack_frames}")

    @property
    def is_demo(self) -> bool:
        return not (self.dataset_name or self.files)


class GreedyTrainer(SquareLossTrainer):
    """Predicts the likeliest class of every frame, which no loss's link to probabilities would change."""

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss, scores, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if scores is None:
            return loss, scores, labels
        classes = (scores[0] if isinstance(scores, tuple) else scores).argmax(-1)
        if "attention_mask" in inputs:  # what a model says about padding depends on the batch
            frames = ctc_frames(self.accelerator.unwrap_model(model), inputs["attention_mask"].sum(-1))
            padding = torch.arange(classes.shape[1], device=classes.device) >= frames[:, None].to(classes.device)
            classes = classes.masked_fill(padding, -100)
        return loss, classes, labels


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes = (ModelArguments, DataArguments, SquareLossTrainingArguments)
    model_args, data_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        model_args, data_args, args = parse_arguments(classes, argv, demo_defaults(args))
        if args.should_save:
            print("No data set and no file given: running the built-in demo, telephone dial tones.")
    elif model_args.model_name_or_path is None and model_args.config_name is None:
        raise ValueError("give a model: --model_name_or_path, or --config_name for a model from scratch")
    logging.basicConfig(level=logging.INFO if args.should_log else logging.WARNING)
    set_seed(args.seed)

    is_demo = data_args.is_demo
    splits = data_args.limited(dial_tones()) if is_demo else data_args.load(model_args.cache_dir, model_args.token)
    if nothing_chosen(args):
        args.do_train, args.do_eval, args.do_predict = (name in splits for name in ("train", "validation", "test"))
    tokenizer, splits = load_tokenizer(model_args, data_args, args, splits)
    model, extractor = load_model(model_args, tokenizer, splits)
    with args.main_process_first(desc="reading the audio"):
        encoded: dict[str, Any] = encode(splits, data_args, model, tokenizer, extractor)
    too_short = require_frames(
        splits, encoded, partial(ctc_frames, model), blank=blank_of(model), keep_too_short=model_args.ctc_zero_infinity
    )
    if too_short and args.should_log:
        print(f"{too_short} utterances have too few frames for their transcripts: their loss is 0")
    args.remove_unused_columns = False  # the lengths would go before batches are made by them (5.24)
    trainer = GreedyTrainer(
        model=model,
        args=args,
        loss=trained_loss(args, model),
        train_dataset=wanted(encoded, "train") if args.do_train else None,
        eval_dataset=wanted(encoded, "validation") if args.do_eval else None,
        processing_class=tokenizer,
        data_collator=SpeechCollator(model.main_input_name, takes_mask(model, extractor), 8 if args.fp16 else 1),
        compute_metrics=partial(compute_metrics, tokenizer=tokenizer, names=data_args.eval_metrics),
    )
    metrics: dict[str, float] = {}
    if args.do_train:
        metrics |= train_or_resume(trainer, run_settings(model_args, data_args))
        if extractor is not None and args.should_save:
            extractor.save_pretrained(args.output_dir)
    if args.do_eval:
        metrics |= save(trainer, "eval", trainer.evaluate() | {"eval_samples": len(encoded["validation"])})
    if args.do_predict:
        metrics |= predict(trainer, wanted(encoded, "test"), tokenizer)
    publish(
        trainer,
        tasks="automatic-speech-recognition",
        dataset=task_title(data_args),
        dataset_tags=data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    if trainer.is_world_process_zero():
        report(data_args, args, trainer, metrics)
    return metrics


def demo_defaults(args: SquareLossTrainingArguments) -> dict[str, Any]:
    return {
        **DEMO_TRAINING,
        "output_dir": f"outputs/speech-demo-{args.loss}",
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "logging_steps": 20,
    }


def run_settings(model_args: ModelArguments, data_args: DataArguments) -> dict[str, Any]:
    """What must be the same for a run to be resumed; the loss is in the model's config."""
    return {
        "dataset_name": data_args.dataset_name,
        "dataset_config_name": data_args.dataset_config_name,
        "train_file": data_args.train_file and Path(data_args.train_file).name,
        "max_train_samples": data_args.max_train_samples,
        "max_duration_in_seconds": data_args.max_duration_in_seconds,
        "stack_frames": data_args.stack_frames,
        "model_name_or_path": model_args.model_name_or_path,
        "config_name": model_args.config_name,
        "tokenizer_name_or_path": model_args.tokenizer_name_or_path,
        **model_args.config_changes,
    }


# ---- data -----------------------------------------------------------------------------------------------------------
def load_tokenizer(
    model_args: ModelArguments,
    data_args: DataArguments,
    args: SquareLossTrainingArguments,
    splits: Mapping[str, Dataset],
) -> tuple[Any, dict[str, Dataset]]:
    """The tokenizer, and the splits with their texts in its case.

    Without a tokenizer by name, training makes one from its transcripts in lower case, as the official script does;
    evaluation alone takes the model's.
    """
    ignore = data_args.chars_to_ignore or ()
    name = model_args.tokenizer_name_or_path or (None if args.do_train else model_args.model_name_or_path)
    if name is not None:
        tokenizer = AutoTokenizer.from_pretrained(name, **model_args.hub)
        return tokenizer, normalize_texts(splits, ignore=ignore, case=case_of(tokenizer.get_vocab()))
    splits = normalize_texts(splits, ignore=ignore, case=str.lower)
    tokenizer = character_tokenizer(
        wanted(splits, "train")["text"],
        unk_token=data_args.unk_token,
        pad_token=data_args.pad_token,
        word_delimiter_token=data_args.word_delimiter_token,
    )
    return tokenizer, splits


def encode(
    splits: Mapping[str, Dataset], data_args: DataArguments, model: Any, tokenizer: Any, extractor: Any
) -> dict[str, Dataset]:
    """Every split with the model's inputs and labels; what cannot be learnt from is refused by name."""
    values = model.config.to_dict()
    bands = values.get("encoder_config", {}).get("num_mel_bins")
    encoder = SpeechEncoder(
        extractor,
        partial(encode_text, tokenizer),
        model.main_input_name,
        dims=values.get("feature_projection_input_dim", bands),
        stack=data_args.stack_frames,
        min_seconds=data_args.min_duration_in_seconds,
        max_seconds=data_args.max_duration_in_seconds or np.inf,
    )
    return encoder.encode(splits, num_proc=data_args.preprocessing_num_workers, overwrite=data_args.overwrite_cache)


# ---- model ----------------------------------------------------------------------------------------------------------
def load_model(model_args: ModelArguments, tokenizer: Any, splits: Mapping[str, Dataset]) -> tuple[Any, Any]:
    """The model with a head for this vocabulary, and its feature extractor; None where the features are stored."""
    hub, name = model_args.hub, model_args.model_name_or_path
    source = name or model_args.config_name
    config: Any = demo_model() if source is None else AutoConfig.from_pretrained(source, **hub)
    if name is None or tokenizer.name_or_path != name:  # not the vocabulary that the model has
        config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        if "blank_token_id" in config.to_dict():
            config.blank_token_id = tokenizer.pad_token_id
    for option, value in model_args.config_changes.items():
        if option not in config.to_dict():
            raise ValueError(
                f"{option}={value} would be ignored: the config of a {config.model_type} has no such entry"
            )
        setattr(config, option, value)
    if name is None:
        model = AutoModelForCTC.from_config(config)
    else:
        model = AutoModelForCTC.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,  # transformers 5 keeps a checkpoint's float16; mixed precision is --bf16 or --fp16
            ignore_mismatched_sizes=model_args.ignore_mismatched_sizes,
            **hub,
        )
    if model_args.freeze_feature_encoder:
        if "freeze_feature_encoder" not in dir(model):
            raise ValueError(f"freeze_feature_encoder would be ignored: a {type(model).__name__} has no such part")
        model.freeze_feature_encoder()
    first = next(iter(splits.values()))[0]
    if read_audio(first["audio"])[0].ndim == 2:
        return model, None
    return model, load_extractor(model_args, model)


def load_extractor(model_args: ModelArguments, model: Any) -> Any:
    source = model_args.feature_extractor_name or model_args.model_name_or_path or model_args.config_name
    if source is None:
        return SeamlessM4TFeatureExtractor()
    files = [Path(source, file) for file in ("preprocessor_config.json", "processor_config.json")]
    if not Path(source).exists() or any(file.exists() for file in files):
        return AutoFeatureExtractor.from_pretrained(source, **model_args.hub)
    if model.main_input_name != "input_values":
        raise ValueError(
            f"{source} has no preprocessor_config.json, which says how to make features of waveforms: "
            "give --feature_extractor_name"
        )
    # Group norm over padded waveforms was trained without a mask (wav2vec2-base and its kin).
    masked = model.config.to_dict().get("feat_extract_norm") != "group"
    return Wav2Vec2FeatureExtractor(return_attention_mask=masked)


def takes_mask(model: Any, extractor: Any) -> bool:
    return model.main_input_name == "input_features" or extractor.return_attention_mask


def blank_of(model: Any) -> int:
    """The blank that the model's own forward passes to its loss."""
    return model.config.to_dict().get("blank_token_id", model.config.pad_token_id)


# ---- results --------------------------------------------------------------------------------------------------------
def transcripts(classes: np.ndarray, tokenizer: Any) -> list[str]:
    """Greedy decoding of classes (B, T) per frame: repeats are merged, then blanks dropped."""
    return tokenizer.batch_decode(np.where(classes < 0, tokenizer.pad_token_id, classes))


def compute_metrics(prediction: EvalPrediction, tokenizer: Any, names: list[str]) -> dict[str, float]:
    """The error rates, and the share of utterances without any error."""
    labels: Any = prediction.label_ids
    references = [tokenizer.decode(row[row >= 0], group_tokens=False) for row in labels]
    found = transcripts(np.asarray(prediction.predictions), tokenizer)
    exact = float(np.mean([a == b for a, b in zip(found, references, strict=True)]))
    rates = SpeechRecognitionMetric(names).compute(predictions=found, references=references)
    return dict(rates or {}) | {"exact_match": exact}


def predict(trainer: SquareLossTrainer, rows: Dataset, tokenizer: Any) -> dict[str, float]:
    """Transcripts into a file, and metrics where the texts are known."""
    result = trainer.predict(rows, metric_key_prefix="test")  # type: ignore[arg-type]
    save_predictions(trainer, "test", transcripts(np.asarray(result.predictions), tokenizer))
    return save(trainer, "test", (result.metrics or {}) | {"test_samples": len(rows)})


def task_title(data_args: DataArguments) -> str:
    return "telephone dial tones" if data_args.is_demo else data_args.dataset_name or "local files"


def report(
    data_args: DataArguments, args: SquareLossTrainingArguments, trainer: SquareLossTrainer, metrics: dict[str, float]
) -> None:
    """The table at the end of the screen."""
    rows: dict[str, Any] = {"loss": str(trainer.loss.to_dict())}
    if not (data_args.is_demo and args.do_predict):
        show_table(task_title(data_args), rows | shown_metrics(metrics) | {"the model": args.output_dir})
        return
    rows |= {
        "digit error rate on the test split": metrics["test_cer"],
        "strings without an error": metrics["test_exact_match"],
        "training time": f"{metrics['train_runtime']:.0f} s" if "train_runtime" in metrics else "done before",
        "the model": args.output_dir,
    }
    show_table(task_title(data_args), rows)
    print(same_demo_with_another_loss(__file__, args.loss))


if __name__ == "__main__":
    run_script(main)
