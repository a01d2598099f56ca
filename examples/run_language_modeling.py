"""Train a language model, causal or masked, from scratch or from a checkpoint, with a loss of your choice.

    accelerate launch examples/run_language_modeling.py --loss square

runs the built-in demo: characters of the installed Python's own sources, no download. `--demo words` has a vocabulary
of 20,000 words, for which the square loss builds no scores in training. Your own text, a small model from scratch:

    accelerate launch examples/run_language_modeling.py --train_file train.txt --validation_file dev.txt \
        --model_type llama --config_overrides hidden_size=128,num_hidden_layers=2,num_attention_heads=4 \
        --vocabulary words --block_size 128 --loss square --output_dir outputs/words

A model of the Hub, fine-tuned; a model of BERT's kind is trained to fill in masked tokens:

    accelerate launch examples/run_language_modeling.py --train_file train.txt --validation_file dev.txt \
        --model_name_or_path distilgpt2 --loss square --output_dir outputs/gpt2

The same command again resumes after a kill. `--loss cross_entropy` trains the baseline through the same path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    default_data_collator,
)

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments, load_config
from hf_squareloss.heads import refuse_copying
from hf_squareloss.recipes.arguments import ModelSourceArguments, SplitNameArguments
from hf_squareloss.recipes.cli import parse_arguments, run_script
from hf_squareloss.recipes.demo import demo_defaults, report_demo
from hf_squareloss.recipes.epoch_rows import EpochCallback, EpochRows
from hf_squareloss.recipes.from_scratch import VocabularyArguments, vocabulary_values
from hf_squareloss.recipes.language_blocks import choose_block_size, encode_texts
from hf_squareloss.recipes.language_demo import DEMO_TRAINING, DEMOS, commonest_next, python_sources
from hf_squareloss.recipes.language_masks import Masking, masked_rows
from hf_squareloss.recipes.language_metrics import compute_language_metrics, token_columns, token_values
from hf_squareloss.recipes.language_texts import (
    content_of_stream,
    load_named_texts,
    load_texts,
    read_stream,
    shuffled,
    stream_file,
    training_stream,
)
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.stages import choose_stages, publish, report, run_stages, start, trainer_inputs
from hf_squareloss.recipes.text_encoding import pad_with_end
from hf_squareloss.recipes.vocabulary import build_tokenizer, training_texts

OBJECTIVES: dict[str, Any] = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM}


@dataclass
class ModelArguments(VocabularyArguments, ModelSourceArguments):
    objective: str | None = field(
        default=None,
        metadata={"help": "causal (predict the next token) or masked (fill in); default: masked for models of a type "
                          "that has a masked language model, such as bert."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective not in (None, *OBJECTIVES):
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")


@dataclass
class DataArguments(SplitNameArguments):
    train_file: str | None = field(default=None, metadata={"help": "Training texts: .txt, csv, tsv, json or parquet."})
    demo: str | None = field(default=None, metadata={"help": f"The built-in demo: {' or '.join(DEMOS)} (the first)."})
    text_column: str = field(default="text", metadata={"help": "Column of the text, for tables and dataset_name."})
    block_size: int | None = field(
        default=None,
        metadata={"help": "Tokens of a block, or of a line at most; default: what the model takes, 1,024 at most.",
                  "aliases": ["--max_seq_length"]},
    )  # fmt: skip
    line_by_line: bool = field(default=False, metadata={"help": "Each text is a row of its own; default: blocks."})
    mlm_probability: float = field(default=0.15, metadata={"help": "Share of the tokens that are masked."})
    streaming: bool = field(
        default=False, metadata={"help": "Read the training texts as they are trained on; needs --max_steps."}
    )
    train_val_split: float | None = field(
        default=None,
        metadata={"help": "Where there is no validation split: the first texts, as large a share of the training "
                          "texts; with line_by_line such as the seed draws."},
    )  # fmt: skip
    validation_split_percentage: int | None = field(
        default=None, metadata={"help": "As --train_val_split, in per cent of the training texts."}
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Only the first so many training texts; with line_by_line drawn by the seed."}
    )
    max_eval_samples: int | None = field(
        default=None,
        metadata={"help": "Only the first so many validation texts; with line_by_line drawn, the same each time."},
    )
    keep_linebreaks: bool = field(default=True, metadata={"help": "Lines of a .txt file keep their ends."})

    def __post_init__(self) -> None:
        if self.validation_split_percentage is not None:
            if self.train_val_split is not None:
                raise ValueError("validation_split_percentage and train_val_split are one: give one")
            self.train_val_split = self.validation_split_percentage / 100
        super().__post_init__()
        if self.demo is not None and (self.demo not in DEMOS or self.dataset_name or self.files):
            raise ValueError(f"demo must be one of {', '.join(DEMOS)}, without data of your own, got {self.demo!r}")
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability must be between 0 and 1, got {self.mlm_probability}")
        if self.streaming and (self.is_demo or self.train_val_split is not None):
            raise ValueError("streaming is for --dataset_name or --train_file, and cuts no validation split")
        if self.streaming and self.label_noise:
            raise ValueError("label_noise would be ignored: the training texts of a stream have no labels")

    def drawn(self, count: int, seed: int) -> np.ndarray:
        """As the base class has it for lines; a running text is cut in one place, so that neighbours stay together."""
        return super().drawn(count, seed) if self.line_by_line else np.arange(count)


def main(argv: list[str] | None = None) -> dict[str, float]:
    classes, notice = (ModelArguments, DataArguments, LoraArguments, SquareLossTrainingArguments), ""
    model_args, data_args, lora_args, args = parse_arguments(classes, argv)
    if data_args.is_demo:
        kind = data_args.demo or DEMOS[0]
        defaults = {**demo_defaults(f"language-{kind}", args.loss), **DEMO_TRAINING[kind], "demo": kind}
        model_args, data_args, lora_args, args = parse_arguments(classes, argv, defaults)
        notice = f"No data given: running the built-in demo, {kind} of the installed Python's own sources."
    elif not (model_args.model_name_or_path or model_args.model_type or model_args.config_name):
        raise ValueError("give a model: --model_name_or_path, or --model_type or --config_name for one from scratch")
    start(args, notice)

    splits, sources = load_splits(model_args, data_args, args)
    choose_stages(args, splits, predict_by_default=data_args.has_own_test)
    tokenizer, config = load_tokenizer(model_args, splits, training=args.do_train)
    objective = model_args.objective or ("masked" if has_model(AutoModelForMaskedLM, config) else "causal")
    masked = objective == "masked"
    if masked and tokenizer.mask_token is None:
        raise ValueError("the tokenizer has no mask token, which a masked language model needs: --objective causal?")
    if data_args.line_by_line:
        pad_with_end(tokenizer, config)
    model, loading_info = load_model(model_args, OBJECTIVES[objective], config, tokenizer)
    if not masked:
        refuse_copying(model)
    with args.main_process_first(desc="tokenizing"):
        encoded = encode_texts(
            splits,
            tokenizer,
            block_size=choose_block_size(data_args.block_size, tokenizer, model),
            line_by_line=data_args.line_by_line,
            labels=not masked,
            num_proc=data_args.preprocessing_num_workers,
            overwrite=data_args.overwrite_cache,
            cache_dir=model_args.cache_dir,
        )
    lines = {name: rows["row"][:] for name, rows in encoded.items() if "row" in (rows.column_names or ())}
    encoded = {name: rows.remove_columns("row") if name in lines else rows for name, rows in encoded.items()}
    sources = {**encoded, **sources}
    if data_args.streaming and "train" in encoded:
        encoded["train"] = shuffled(encoded["train"], args.seed, blocks=not data_args.line_by_line)
    rows = masked_rows(encoded, Masking(tokenizer, data_args.mlm_probability), args.seed) if masked else encoded
    model = lora_args.wrap(model, loading_info, train=args.do_train, task_type=None if masked else "CAUSAL_LM")
    trainer = SquareLossTrainer(
        **trainer_inputs(args, model, rows),
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer)
        if data_args.line_by_line
        else default_data_collator,
        compute_metrics=compute_language_metrics,
        callbacks=[EpochCallback(rows["train"])] if isinstance(rows.get("train"), EpochRows) else [],
    )
    trainer.preprocess_logits_for_metrics = partial(token_values, trainer=trainer)

    answers = partial(token_columns, index=lines.get("test"))
    metrics = run_stages(trainer, rows, (model_args, data_args, lora_args), answers, sources=sources)
    title = task_title(data_args)
    if trainer.is_world_process_zero():
        if data_args.is_demo and args.do_predict:
            same = __file__ if data_args.demo == DEMOS[0] else f"{__file__} --demo {data_args.demo}"
            report_demo(trainer, title, demo_rows(metrics, encoded), metrics, same)
        else:
            report(trainer, title, metrics)
    publish(
        trainer,
        tasks="fill-mask" if masked else "text-generation",
        dataset=title,
        dataset_tags=data_args.dataset_name,
        finetuned_from=model_args.model_name_or_path,
    )
    return metrics


def load_splits(
    model_args: ModelArguments, data_args: DataArguments, args: SquareLossTrainingArguments
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The texts of each split, and of a stream what it is made of."""
    column, linebreaks = data_args.text_column, data_args.keep_linebreaks
    if data_args.is_demo:
        splits: dict[str, Any] = {**python_sources(data_args.demo or DEMOS[0])}  # type: ignore[dict-item]
    elif data_args.dataset_name:
        options = data_args.hub_options(model_args.cache_dir, model_args.token) | {"streaming": data_args.streaming}
        named = (data_args.dataset_name, data_args.dataset_config_name)
        splits = load_named_texts(*named, column, data_args.split_names, **options)
    else:
        streamed = {"train"} if data_args.streaming else set()
        files = {split: file for split, file in data_args.files.items() if split not in streamed}
        splits = load_texts(files, column, linebreaks=linebreaks)
        if data_args.streaming and data_args.train_file:
            splits["train"] = stream_file(data_args.train_file, column, linebreaks=linebreaks)
    if not data_args.streaming or "train" not in splits:
        return data_args.chosen(splits, args.seed), {}
    if args.max_steps <= 0:
        raise ValueError("a stream has no length: give --max_steps")
    train = splits.pop("train")
    if data_args.dataset_name:
        limits = {"validation": data_args.max_eval_samples, "test": data_args.max_predict_samples}
        splits = {name: read_stream(rows, limits[name], name) for name, rows in splits.items()}
    named = [data_args.train_split_name] if data_args.train_split_name else []
    content = content_of_stream(data_args.train_file or data_args.title, data_args.max_train_samples, *named)
    texts = training_stream(train, data_args.max_train_samples)
    return {**data_args.limited(splits, args.seed), "train": texts}, {"train": content}


def load_tokenizer(model_args: ModelArguments, splits: Mapping[str, Any], *, training: bool) -> tuple[Any, Any]:
    """The tokenizer, loaded or built from the training texts, and the model's config."""
    name = model_args.config_name or model_args.model_name_or_path
    config = None if name is None else load_config(name, **model_args.hub)
    if model_args.model_name_or_path is not None:
        model_args.require_loaded(config, training=training)
    source = model_args.tokenizer_name or model_args.model_name_or_path
    if source is not None:
        tokenizer = AutoTokenizer.from_pretrained(source, **model_args.hub)
    elif model_args.vocabulary is not None:
        tokenizer = build_tokenizer(training_texts(splits), model_args.vocabulary, model_args.vocabulary_size)
    else:
        raise ValueError("give a tokenizer: --tokenizer_name, or --vocabulary words or characters to build one")
    if model_args.model_name_or_path is None:
        config = model_args.make_config(config, **vocabulary_values(tokenizer, config, ("bos", "eos", "pad")))
    return tokenizer, config


def has_model(auto_class: Any, config: Any) -> bool:
    """Whether there is a model of the class for this config, in transformers or in the code that came with it."""
    return type(config) in auto_class._model_mapping or auto_class.__name__ in (getattr(config, "auto_map", None) or {})


def load_model(model_args: ModelArguments, auto_class: Any, config: Any, tokenizer: Any) -> tuple[Any, Any]:
    """The model, and what its files held, where it has files."""
    if not has_model(auto_class, config):
        raise ValueError(f"{config.model_type} has no model for {auto_class.__name__}: choose another --objective")
    if model_args.model_name_or_path is None:
        return auto_class.from_config(config, trust_remote_code=model_args.trust_remote_code), None
    model, loading_info = auto_class.from_pretrained(
        model_args.model_name_or_path, config=config, output_loading_info=True, **model_args.weights
    )
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    return model, loading_info


def task_title(data_args: DataArguments) -> str:
    return f"Python's own sources, {data_args.demo}" if data_args.is_demo else data_args.title


def demo_rows(metrics: Mapping[str, float], encoded: Mapping[str, Any]) -> dict[str, float]:
    counted = commonest_next(encoded["train"]["input_ids"][:2000], encoded["test"]["input_ids"][:200])
    return {
        "test accuracy, next token": metrics["test_accuracy"],
        "test accuracy of counts of four tokens before": counted,
        "test perplexity": metrics["test_perplexity"],
    }


if __name__ == "__main__":
    run_script(main)
