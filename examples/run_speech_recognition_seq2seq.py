"""Train or fine-tune an encoder-decoder speech recogniser (Whisper, Speech2Text) with a loss of your choice.

A pretrained model on a data set of the Hub:

    accelerate launch examples/run_speech_recognition_seq2seq.py --model_name_or_path openai/whisper-tiny \
        --dataset_name google/fleurs --dataset_config_name de_de --text_column_name transcription \
        --language german --task transcribe --loss square --learning_rate 1e-5 --max_steps 2000 \
        --output_dir outputs/fleurs-square

Lists of your own (csv, tsv or json with the columns audio, a path, and text), a model from scratch: the folder holds
the model's config.json and preprocessor_config.json; the tokenizer is made from the characters of the transcripts.
Without a preprocessor_config.json the lists name stored features, .npy files of (frames, dims), as Speech2Text takes.

    accelerate launch examples/run_speech_recognition_seq2seq.py --config_name my-small-whisper \
        --train_file train.tsv --validation_file dev.tsv --test_file test.tsv \
        --loss square --learning_rate 1e-3 --num_train_epochs 30 --output_dir outputs/mine

The same command again resumes after a kill. `--loss cross_entropy` trains the baseline through the same path.
In evaluation and prediction tokens are generated, with scores that went through the loss's own link to probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForSpeechSeq2Seq,
    AutoTokenizer,
    EvalPrediction,
    GenerationConfig,
    Seq2SeqTrainingArguments,
    SpeechEncoderDecoderModel,
)

from hf_squareloss import SquareLossSeq2SeqTrainer, SquareLossTrainingArguments, load_config
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.metrics import SpeechRecognitionMetric
from hf_squareloss.recipes.seq2seq_data import (
    character_tokenizer,
    encode_labels,
    fit_to_tokenizer,
    without_long_labels,
)
from hf_squareloss.recipes.speech_arguments import SpeechDataArguments, SpeechModelArguments
from hf_squareloss.recipes.speech_encoding import SpeechCollator, SpeechEncoder, heard_seconds, load_feature_extractor
from hf_squareloss.recipes.speech_files import normalize_texts
from hf_squareloss.recipes.stages import choose_stages, get_split, publish, report, run_stages, start, trainer_inputs


@dataclass
class ModelArguments(SpeechModelArguments):
    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer, if not the model's."})
    freeze_encoder: bool = field(default=False, metadata={"help": "Train the decoder alone."})
    apply_spec_augment: bool = field(
        default=False, metadata={"help": "SpecAugment in training, as the config sets it (Whisper)."}
    )
    forced_decoder_ids: str | None = field(default=None, metadata={"help": "Gone: use --language and --task."})
    suppress_tokens: str | None = field(
        default=None, metadata={"help": "Gone: it belongs into the model's generation_config.json."}
    )

    def __post_init__(self) -> None:
        if self.model_name_or_path is None and self.config_name is None:
            raise ValueError("give --model_name_or_path, or --config_name for a model from scratch")
        if self.forced_decoder_ids is not None:
            raise ValueError("forced_decoder_ids is gone: use --language and --task")
        if self.suppress_tokens is not None:
            raise ValueError("suppress_tokens is gone: set it in the model's generation_config.json")

    @property
    def name(self) -> str:
        return self.model_name_or_path or self.config_name or ""


@dataclass
class DataArguments(SpeechDataArguments):
    do_lower_case: bool = field(default=True, metadata={"help": "Transcripts in lower case."})
    language: str | None = field(default=None, metadata={"help": "Language of a multilingual Whisper."})
    task: str = field(default="transcribe", metadata={"help": "Task of a multilingual Whisper."})
    max_duration_in_seconds: float | None = field(
        default=None, metadata={"help": "Leave longer training audio out; default: what the model does not hear."}
    )
    max_label_length: int | None = field(
        default=None, metadata={"help": "Leave training utterances with more tokens out."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.dataset_name or self.files):
            raise ValueError(
                "no data: give --dataset_name NAME (a data set of the Hub) or --train_file and --validation_file, "
                "lists with the columns audio (a path) and text. A demo without data of your own is in "
                "run_speech_recognition_ctc.py"
            )


@dataclass
class TrainingArguments(SquareLossTrainingArguments, Seq2SeqTrainingArguments):
    predict_with_generate: bool = field(
        default=True, metadata={"help": "Generate transcripts in evaluation, for WER and CER; else the loss alone."}
    )


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes = (ModelArguments, DataArguments, LoraArguments, TrainingArguments)
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    start(args)

    splits = data_args.load(model_args.cache_dir, model_args.token, predict=args.do_predict)
    splits = data_args.chosen(splits, args.seed)
    case = str.lower if data_args.do_lower_case else str
    splits = normalize_texts(splits, case=case, skip_bad=data_args.skip_bad_utterances)
    choose_stages(args, splits)
    if args.do_predict and not args.predict_with_generate:
        raise ValueError("--do_predict writes generated transcripts: it needs --predict_with_generate True")
    model, loading_info, tokenizer, extractor = load_model(model_args, data_args, args, splits)
    model = lora_args.wrap(model, loading_info, train=args.do_train)
    args.remove_unused_columns = False  # the lengths would go before batches are made by them (transformers 5.24)
    with args.main_process_first(desc="reading the audio"):
        encoder = make_encoder(data_args, model, tokenizer, extractor)
        kept = without_long_labels(splits, tokenizer, data_args.max_label_length)
        encoded = data_args.encoded(kept, encoder, model_args.cache_dir)
    trainer = SquareLossSeq2SeqTrainer(
        **trainer_inputs(args, model, encoded),
        processing_class=tokenizer,
        data_collator=SpeechCollator(input_name(model), attention_mask=takes_mask(model)),
        compute_metrics=partial(compute_metrics, tokenizer=tokenizer) if args.predict_with_generate else None,
    )

    answers, options = partial(decode, tokenizer=tokenizer), (model_args, data_args, lora_args)
    metrics = run_stages(trainer, encoded, options, answers, sources=splits, extractor=extractor)
    if trainer.is_world_process_zero():
        report(trainer, data_args.dataset_name or "Speech recognition", metrics)
    publish(
        trainer,
        tasks="automatic-speech-recognition",
        dataset=data_args.title,
        dataset_tags=data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
        language=data_args.language,
    )
    return metrics


# ---- data -----------------------------------------------------------------------------------------------------------
def make_encoder(data_args: DataArguments, model: Any, tokenizer: Any, extractor: Any) -> SpeechEncoder:
    """What makes the model's inputs and labels; what cannot be learnt from is refused by name."""
    values = model.config.to_dict()
    dims = values.get("input_feat_per_channel")  # Speech2Text
    start, stored = model.config.decoder_start_token_id, extractor is None
    heard = heard_seconds(model.config, extractor)
    longest_wanted = heard if data_args.max_duration_in_seconds is None else data_args.max_duration_in_seconds
    return SpeechEncoder(
        extractor,
        partial(encode_labels, tokenizer=tokenizer, start=start, longest=positions(model)),
        input_name(model),
        dims=None if dims is None else dims * values["input_channels"],
        min_seconds=0.0 if stored else data_args.min_duration_in_seconds,
        max_seconds=np.inf if stored else longest_wanted,
        heard_seconds=heard,
    )


# ---- model ----------------------------------------------------------------------------------------------------------
def load_model(
    model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments, splits: Mapping[str, Dataset]
) -> tuple[Any, Any, Any, Any]:
    """The model, what its files held, its tokenizer and its feature extractor.

    None without files, and for a folder without an extractor (stored features).
    """
    name, hub = model_args.name, model_args.hub
    config = load_config(model_args.config_name or name, **hub)
    from_scratch = model_args.model_name_or_path is None
    if from_scratch and model_args.tokenizer_name is None:
        tokenizer: Any = character_tokenizer(get_split(splits, "train")["text"])
        fit_to_tokenizer(config, tokenizer)
    else:
        tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, **hub)
    size = config.get_text_config(decoder=True).vocab_size
    if len(tokenizer) > size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model's vocabulary only {size}")
    if config.decoder_start_token_id is None or config.pad_token_id is None:
        raise ValueError(f"{name}: the config needs decoder_start_token_id and pad_token_id to make decoder inputs")
    if model_args.apply_spec_augment:
        if config.model_type != "whisper":
            raise ValueError(f"apply_spec_augment would be ignored: a {config.model_type} model has no SpecAugment")
        config.apply_spec_augment = True
    loading_info = None
    if from_scratch:
        model = AutoModelForSpeechSeq2Seq.from_config(config)
        model.generation_config = GenerationConfig(
            max_length=positions(model),
            pad_token_id=config.pad_token_id,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
        )
    else:
        model, loading_info = AutoModelForSpeechSeq2Seq.from_pretrained(
            name, config=config, output_loading_info=True, **model_args.weights
        )
    if args.generation_max_length is not None:
        model.generation_config.max_length = args.generation_max_length
    freeze(model, model_args)
    set_language(model, tokenizer, data_args)
    return model, loading_info, tokenizer, load_feature_extractor(model_args.feature_extractor_name or name, hub)


def freeze(model: Any, model_args: ModelArguments) -> None:
    if model_args.freeze_encoder:
        model.get_encoder().requires_grad_(False)
    if model_args.freeze_feature_encoder:
        if not isinstance(model, SpeechEncoderDecoderModel):
            raise ValueError(
                f"freeze_feature_encoder would be ignored: a {type(model).__name__} has no feature encoder of its own; "
                "--freeze_encoder freezes the whole encoder"
            )
        model.freeze_feature_encoder()


def set_language(model: Any, tokenizer: Any, data_args: DataArguments) -> None:
    """The language and the task of a multilingual Whisper, in its labels and in what it generates."""
    generation: Any = model.generation_config
    if generation.to_dict().get("is_multilingual"):
        tokenizer.set_prefix_tokens(language=data_args.language, task=data_args.task)
        generation.language, generation.task = data_args.language, data_args.task
    elif data_args.language is not None:
        raise ValueError(f"language={data_args.language!r} would be ignored: this model is not multilingual")


def input_name(model: Any) -> str:
    """What the encoder calls its inputs: SpeechEncoderDecoderModel itself has another name for them."""
    return model.get_encoder().main_input_name


def positions(model: Any) -> int | None:
    """The most tokens that the decoder has positions for; None where it says nothing."""
    decoder = model.config.get_text_config(decoder=True).to_dict()
    return decoder.get("max_target_positions", decoder.get("max_position_embeddings"))


def takes_mask(model: Any) -> bool:
    """Whisper's inputs all have one length and need none."""
    return model.config.model_type != "whisper"


# ---- results --------------------------------------------------------------------------------------------------------
def compute_metrics(prediction: EvalPrediction, tokenizer: Any) -> dict[str, float]:
    """WER and CER of the generated transcripts."""
    transcripts, references = decode(prediction.predictions, tokenizer), decode(prediction.label_ids, tokenizer)
    found = SpeechRecognitionMetric(("wer", "cer")).compute(predictions=transcripts, references=references)
    return dict(found or {})


def decode(ids: Any, tokenizer: Any) -> list[str]:
    ids = np.where(np.asarray(ids) == -100, tokenizer.pad_token_id, ids)
    found = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [text.strip() for text in found]


if __name__ == "__main__":
    run_script(main)
