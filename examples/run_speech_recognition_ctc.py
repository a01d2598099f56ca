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
same path. Of the official script, phoneme_language (it needs espeak), preprocessing_only and ctc_loss_reduction are
missing: the loss is the mean over utterances, whatever the model's config says. The splits are train, validation and
test unless they are named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForCTC,
    AutoTokenizer,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

import hf_squareloss.models  # noqa: F401  its model types, for --config_name
from hf_squareloss import SquareLossTrainingArguments, load_config
from hf_squareloss.heads import blank_of, ctc_frames
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.ctc_data import character_tokenizer, encode_transcript, mask_length_of, require_frames
from hf_squareloss.recipes.ctc_transcripts import GreedyTrainer, greedy_transcripts, transcript_metrics
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.language_adapters import LanguageAdapterArguments
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.metrics import SpeechRecognitionMetric
from hf_squareloss.recipes.pretrained import load_pretrained
from hf_squareloss.recipes.speech_arguments import ConfigArguments, SpeechDataArguments, SpeechModelArguments
from hf_squareloss.recipes.speech_demo import DEMO_TRAINING, demo_model, dial_tones
from hf_squareloss.recipes.speech_encoding import SpeechCollator, SpeechEncoder, load_feature_extractor, stores_features
from hf_squareloss.recipes.speech_files import case_of, normalize_texts
from hf_squareloss.recipes.stages import choose_stages, get_split, publish, report, run_stages, start, trainer_inputs


@dataclass
class ModelArguments(ConfigArguments, LanguageAdapterArguments, SpeechModelArguments):
    tokenizer_name_or_path: str | None = field(
        default=None, metadata={"help": "Tokenizer; default: in training one is made from the transcripts."}
    )
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head that has another vocabulary."}
    )
    ctc_zero_infinity: bool = field(
        default=False, metadata={"help": "Keep utterances with too few frames for their text; their loss is 0."}
    )


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


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        defaults = {**DEMO_TRAINING, **demo_defaults("speech", args.loss)}
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
        notice = "No data set and no file given: running the built-in demo, telephone dial tones."
    elif model_args.model_name_or_path is None and model_args.config_name is None:
        raise ValueError("give a model: --model_name_or_path, or --config_name for a model from scratch")
    start(args, notice)

    is_demo = data_args.is_demo
    sources = (model_args.cache_dir, model_args.token)
    splits = dial_tones() if is_demo else data_args.load(*sources, predict=args.do_predict)
    splits = data_args.chosen(splits, args.seed)
    choose_stages(args, splits)
    if args.do_train and model_args.model_name_or_path and model_args.config_name:
        raise ValueError("config_name would be ignored: it is for a model from scratch")
    tokenizer, splits = load_tokenizer(model_args, data_args, args, splits)
    model, loading_info, extractor = load_model(model_args, tokenizer, splits)
    model = lora_args.wrap(model, loading_info, train=args.do_train)
    if args.do_train:
        model_args.freeze(model)
    with args.main_process_first(desc="reading the audio"):
        encoder = make_encoder(data_args, model, tokenizer, extractor)
        encoded = data_args.encoded(splits, encoder, model_args.cache_dir)
    encoded, too_short = require_frames(
        splits,
        encoded,
        partial(ctc_frames, model),
        blank=blank_of(model.config),
        mask_length=mask_length_of(model.config) if args.do_train else 1,
        masked_lengths=partial(ctc_frames, model, before_adapter=True),
        keep_too_short=model_args.ctc_zero_infinity,
        skip_bad=data_args.skip_bad_utterances,
    )
    if too_short and args.should_log:
        print(f"{too_short} utterances have too few frames for their transcripts: their loss is 0")
    args.remove_unused_columns = False  # the lengths would go before batches are made by them (transformers 5.24)
    trainer = GreedyTrainer(
        **trainer_inputs(args, model, encoded),
        processing_class=tokenizer,
        data_collator=SpeechCollator(
            model.main_input_name,
            attention_mask=(masked := takes_mask(model, extractor)),
            input_lengths=not masked,
            pad_to_multiple_of=8 if args.fp16 else 1,
            channel=extractor is not None and "padding_mask" in extractor.model_input_names,
        ),
        compute_metrics=partial(
            transcript_metrics, tokenizer=tokenizer, blank=blank_of(model.config), names=data_args.eval_metrics
        ),
    )

    decode = partial(greedy_transcripts, tokenizer=tokenizer, blank=blank_of(model.config))
    options = (model_args, data_args, lora_args)
    metrics = run_stages(trainer, encoded, options, decode, sources=splits, extractor=extractor)
    if args.do_train:
        model_args.save(trainer)
    title = "telephone dial tones" if is_demo else data_args.title
    if trainer.is_world_process_zero():
        if is_demo and args.do_predict:
            rows = {
                "digit error rate on the test split": metrics["test_cer"],
                "strings without an error": metrics["test_exact_match"],
            }
            report_demo(trainer, title, rows, metrics, __file__)
        else:
            report(trainer, title, metrics)
    publish(
        trainer,
        tasks="automatic-speech-recognition",
        dataset=title,
        dataset_tags=data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    return metrics


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
    options: dict[str, Any] = {"ignore": data_args.chars_to_ignore or (), "skip_bad": data_args.skip_bad_utterances}
    name = model_args.tokenizer_name_or_path or (None if args.do_train else model_args.model_name_or_path)
    if name is not None:
        tokenizer = AutoTokenizer.from_pretrained(name, **model_args.hub)
        return tokenizer, normalize_texts(splits, **options, case=case_of(tokenizer.get_vocab()))
    splits = normalize_texts(splits, **options, case=str.lower)
    tokenizer = character_tokenizer(
        get_split(splits, "train")["text"],
        unk_token=data_args.unk_token,
        pad_token=data_args.pad_token,
        word_delimiter_token=data_args.word_delimiter_token,
    )
    return tokenizer, splits


def make_encoder(data_args: DataArguments, model: Any, tokenizer: Any, extractor: Any) -> SpeechEncoder:
    """What makes the model's inputs and labels; what cannot be learnt from is refused by name."""
    values = model.config.to_dict()
    bands = values.get("encoder_config", {}).get("num_mel_bins")
    return SpeechEncoder(
        extractor,
        partial(encode_transcript, tokenizer),
        model.main_input_name,
        dims=values.get("feature_projection_input_dim", bands),
        stack=data_args.stack_frames,
        min_seconds=data_args.min_duration_in_seconds,
        max_seconds=data_args.max_duration_in_seconds or np.inf,
    )


# ---- model ----------------------------------------------------------------------------------------------------------
def load_model(model_args: ModelArguments, tokenizer: Any, splits: Mapping[str, Dataset]) -> tuple[Any, Any, Any]:
    """The model with a head for this vocabulary, what its files held, and its feature extractor.

    None without files, and where the features are stored.
    """
    name = model_args.model_name_or_path
    source = name or model_args.config_name
    config: Any = demo_model() if source is None else load_config(source, **model_args.hub)
    if name is None or tokenizer.name_or_path != config.name_or_path:  # nor is an adapter's that of its base model
        config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        if "blank_token_id" in config.to_dict():
            config.blank_token_id = tokenizer.pad_token_id
    model_args.change_config(config)
    if name is None:
        model, loading_info = AutoModelForCTC.from_config(config), None
    else:
        own = {"ignore_mismatched_sizes": model_args.ignore_mismatched_sizes, **model_args.weights}
        model, loading_info = load_pretrained(AutoModelForCTC, name, config, **own)
    if model_args.freeze_feature_encoder:
        if "freeze_feature_encoder" not in dir(model):
            raise ValueError(f"freeze_feature_encoder would be ignored: a {type(model).__name__} has no such part")
        model.freeze_feature_encoder()
    if stores_features(next(iter(splits.values()))):
        return model, loading_info, None
    return model, loading_info, load_extractor(model_args, model)


def load_extractor(model_args: ModelArguments, model: Any) -> Any:
    source = model_args.feature_extractor_name or model_args.model_name_or_path or model_args.config_name
    if source is None:
        return SeamlessM4TFeatureExtractor()
    extractor = load_feature_extractor(source, model_args.hub)
    if extractor is not None:
        return extractor
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


if __name__ == "__main__":
    run_script(main)
