"""examples/run_language_modeling.py in this process: demo, both objectives, resuming, and what it refuses."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from example_scripts import QUIET, results
from language_runs import BERT, LLAMA, SHORT, SMALL, script, weights
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, BertConfig

from hf_squareloss import load_loss
from hf_squareloss.heads import FusedHead
from hf_squareloss.recipes.language_demo import python_sources


# ---- from texts to a model -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_a_causal_model_learns(loss: str, run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    stages = ["--do_train", "--do_eval", "--do_predict"]
    learn = ["--learning_rate", "1e-2", "--num_train_epochs", "10", "--save_strategy", "no"]
    found = run(*LLAMA, "--loss", loss, *stages, *learn)
    assert 0.8 < found["test_accuracy"] < 0.9  # six of seven words can be known
    assert 12 ** (1 / 7) < found["test_perplexity"] < 3
    rows = [line.split("\t") for line in (tmp_path / "out" / "test_predictions.tsv").read_text().splitlines()]
    assert rows[0] == ["index", "accuracy", "tokens", "log_probability", "perplexity"] and len(rows) == 41
    assert sum(float(row[1]) for row in rows[1:]) / 40 == pytest.approx(found["test_accuracy"], abs=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card and "AutoModelForCausalLM" in card and "perplexity" in card
    # Loaded by plain transformers it is the same model, with its vocabulary.
    autos: Any = (AutoModelForCausalLM, AutoTokenizer)
    model, tokenizer = (auto.from_pretrained(tmp_path / "out") for auto in autos)
    line = tokenizer("w0 w1 w6 w7", return_tensors="pt")["input_ids"]
    p = load_loss(model).probabilities(model(line).logits)
    assert p.shape == (1, 4, len(tokenizer)) and tokenizer.decode(p[0, 2].argmax()) == "w7"


def test_a_masked_model(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    found = run(*BERT, *SHORT, "--mlm_probability", "0.3", "--line_by_line", "--block_size", "12")
    assert found["eval_samples"] == 20 and 0 <= found["eval_accuracy"] < 0.5
    lines = ["--mlm_probability", "0.3", "--line_by_line", "--block_size", "12"]
    again = run("--model_name_or_path", str(tmp_path / "out"), "--do_eval", *lines, name="again")
    assert again["eval_nll"] == pytest.approx(found["eval_nll"], rel=1e-5)  # the masks are the same
    assert "fill-mask" in (tmp_path / "out" / "README.md").read_text()
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "out")).__name__ == "BertForMaskedLM"


def test_a_large_vocabulary_is_trained_without_scores(
    run: Callable[..., dict[str, float]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms, total = [], FusedHead.total

    def counted(fused: FusedHead, *rest: Any) -> Any:
        forms.append(1)
        return total(fused, *rest)

    monkeypatch.setattr(FusedHead, "total", counted)
    with caplog.at_level(logging.WARNING):
        run(*LLAMA, *SHORT)
    assert len(forms) == 2 and "builds the scores" not in caplog.text
    run(*LLAMA, *SHORT, "--loss", "cross_entropy", name="other")
    assert len(forms) == 2


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def small(kind: str) -> DatasetDict:
        texts = {name: [text[:2000] for text in rows["text"][:3]] for name, rows in python_sources(kind).items()}
        return DatasetDict({name: Dataset.from_dict({"text": few}) for name, few in texts.items()})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(script, "python_sources", small)
    found = script.main(["--max_steps", "2", "--config_overrides", SMALL, *QUIET])
    shown = capsys.readouterr().out
    rows = dict(re.findall(r"│ (.*?) +│ (.*?) +│", shown))
    assert "No data given" in shown and rows["test accuracy, next token"] == f"{found['test_accuracy']:.4f}"
    assert rows["the model"] == "outputs/language-characters-demo-square"
    assert re.search(r"run_language_modeling.py --loss cross_entropy$", shown, re.MULTILINE)
    script.main(["--demo", "words", "--max_steps", "2", "--config_overrides", SMALL, *QUIET])
    assert re.search(r"run_language_modeling.py --demo words --loss cross_entropy$", capsys.readouterr().out, re.M)


# ---- models and options ---------------------------------------------------------------------------------------------
def test_a_config_in_a_file(run: Callable[..., Any], tmp_path: Path) -> None:
    """From scratch, with embeddings for all of the tokenizer, as run_clm makes it."""
    run(*LLAMA, *SHORT, name="whole")
    for name, size in (("small", 8), ("large", 99)):
        config = BertConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        config.intermediate_size, config.max_position_embeddings = 32, 8
        config.save_pretrained(tmp_path / name)
        given = ["--config_name", str(tmp_path / name), "--tokenizer_name", str(tmp_path / "whole"), *SHORT]
        run(*given, "--config_overrides", "num_hidden_layers=2", name=f"of-{name}")
        made = AutoModelForMaskedLM.from_pretrained(tmp_path / f"of-{name}").config
        assert (made.hidden_size, made.num_hidden_layers) == (16, 2)
        assert made.vocab_size == max(size, len(AutoTokenizer.from_pretrained(tmp_path / "whole")))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="model_type=llama would be ignored: the config in config_name is of bert"):
        run("--model_type", "llama", *given, name="other")
    with pytest.raises(ValueError, match="vocabulary would be ignored: the model in model_name_or_path"):
        run("--model_name_or_path", str(tmp_path / "whole"), "--vocabulary", "words", *SHORT, name="other")


OWN_CODE = """from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_a_model_with_code_of_its_own(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    first = run(*LLAMA, *SHORT, name="own")
    (tmp_path / "own/own.py").write_text(OWN_CODE)
    config = json.loads((tmp_path / "own/config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (tmp_path / "own/config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    given = ["--model_name_or_path", str(tmp_path / "own"), "--trust_remote_code", "--do_eval", "--block_size", "8"]
    found = run(*given, name="again")
    assert found["eval_nll"] == pytest.approx(first["eval_nll"], rel=1e-5)
    with pytest.raises(ValueError, match="no model for AutoModelForMaskedLM"):
        run(*given, "--objective", "masked", name="masked")
    scratch = ["--config_name", given[1], "--tokenizer_name", given[1], "--trust_remote_code", "--block_size", "8"]
    assert run(*scratch, *SHORT, name="scratch")["eval_nll"] > 0


def test_a_model_of_robertas_kind_from_scratch(run: Callable[..., Any]) -> None:
    """Its positions begin behind the padding index."""
    sizes = f"{SMALL},max_position_embeddings=20"
    run("--model_type", "roberta", "--config_overrides", sizes, "--vocabulary", "words", *SHORT)
    with pytest.raises(ValueError, match="block_size 20 is more than the 19 tokens"):
        run(
            "--model_type",
            "roberta",
            "--config_overrides",
            sizes,
            "--vocabulary",
            "words",
            "--block_size",
            "20",
            *SHORT,
        )


def test_the_same_command_goes_on_with_its_model(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    """As the comparison of losses does: the test part alone, by the same options and the trained model."""
    trained = run(*LLAMA, *SHORT, "--do_train", "--do_eval", name="one")
    found = run(*LLAMA, *SHORT, "--do_predict", "--model_name_or_path", str(tmp_path / "one"), name="one")
    assert found["test_samples"] == 40 and "train_loss" in trained
    with pytest.raises(ValueError, match="num_hidden_layers=7 would be ignored"):
        other = [*LLAMA, "--config_overrides", "num_hidden_layers=7", *SHORT]
        run(*other, "--do_predict", "--model_name_or_path", str(tmp_path / "one"))


@pytest.mark.parametrize(("model", "auto"), [(LLAMA, AutoModelForCausalLM), (BERT, AutoModelForMaskedLM)])
def test_a_killed_run_resumes(
    model: list[str], auto: Any, run: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    """Within an epoch, and with other workers."""
    steps = ["--learning_rate", "1e-2", "--save_strategy", "steps", "--save_steps", "2", "--max_steps", "4"]
    run(*model, *steps, name="whole")
    run(*model, *steps, name="killed")
    folder = tmp_path / "killed"
    for left in [*folder.glob("*.safetensors"), *folder.glob("checkpoint-4/*"), *folder.glob("*_results.json")]:
        left.unlink()
    (folder / "checkpoint-4").rmdir()
    run(*model, *steps, "--dataloader_num_workers", "2", name="killed")
    assert torch.equal(weights(folder, auto), weights(tmp_path / "whole", auto))
    assert results(folder)["eval_nll"] == results(tmp_path / "whole")["eval_nll"]
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 4


# ---- refusals --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model_type", "gpt2"], "give a tokenizer: --tokenizer_name, or --vocabulary"),
        ([*LLAMA, "--objective", "masked"], "llama has no model for AutoModelForMaskedLM"),
        ([*LLAMA, "--block_size", "2000"], "fill no block of 2000: give more text, a smaller --block_size"),
        (["--vocabulary", "words"], "give a model: --model_name_or_path, or --model_type"),
        ([*BERT, "--objective", "causal"], "sees the tokens that it is to predict.*is_decoder=true"),
        (
            ["--model_type", "xlnet", "--config_overrides", "d_model=16,n_layer=1,n_head=2,d_inner=32", *LLAMA[4:]],
            "XLNetLMHeadModel would learn to copy",
        ),
        ([*LLAMA[:2], "--vocabulary", "words", "--config_overrides", "hiden=1"], "llama has no entry 'hiden'"),
    ],
)
def test_what_cannot_be_trained(options: list[str], message: str, run: Callable[..., dict[str, float]]) -> None:
    with pytest.raises(ValueError, match=message):
        run(*options, *SHORT)


def test_texts_shorter_than_a_block(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    files = {"short": "w0 w1\n", "empty": "", "blank": " \n\n"}
    paths = {name: tmp_path / f"{name}.txt" for name in files}
    for name, content in files.items():
        paths[name].write_text(content)
    for name, message in (
        ("short", "the validation split has 2 tokens in 1 texts, which fill no block of 8"),
        ("empty", "the validation split is empty: no text in "),
        ("blank", "the validation split is empty: no text in "),
    ):
        with pytest.raises(ValueError, match=message):
            run(*LLAMA, *SHORT, "--validation_file", str(paths[name]))
    run(*LLAMA, *SHORT, name="whole")
    stream = ["--streaming", "--train_file", str(paths["short"]), *SHORT]
    with pytest.raises(ValueError, match="the texts of the train split fill no block of 8"):
        run(*LLAMA[:4], "--tokenizer_name", str(tmp_path / "whole"), "--block_size", "8", *stream)
    with pytest.raises(ValueError, match="a vocabulary is built from all training texts, which a stream has not read"):
        run(*LLAMA, *stream)


def test_a_tokenizer_without_a_mask_token(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run(*LLAMA, *SHORT)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path / "maskless")
    with pytest.raises(ValueError, match="no mask token"):
        run(*BERT[:4], "--tokenizer_name", str(tmp_path / "maskless"), *SHORT, name="bert")


@pytest.mark.parametrize(
    "options",
    [
        ["--objective", "both"],
        ["--demo", "words"],
        ["--mlm_probability", "1.5"],
        ["--streaming", "--train_val_split", "0.1"],
        ["--validation_split_percentage", "5", "--train_val_split", "0.1"],
        ["--vocabulary", "words", "--tokenizer_name", "gpt2"],
        ["--word_vectors", "glove.txt"],  # for classifiers
        ["--streaming", "--label_noise", "0.1"],
        ["--dataset_revision", "main"],
    ],
)
def test_options_that_exclude_each_other(options: list[str], run: Callable[..., dict[str, float]]) -> None:
    with pytest.raises(SystemExit):
        run(*options)
