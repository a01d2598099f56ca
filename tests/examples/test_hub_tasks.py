"""Data sets by name and models pushed, on a loopback Hub, and loaded by their cards: tokens, choices, texts, sounds."""

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from choice_files import questions
from example_scripts import predictions, results
from loopback_hub import TOKENS, LoopbackHub, card_errors, read_card
from processes import EXAMPLES, environment, run
from tag_files import sentences

OWNER = """
import sys
from pathlib import Path

import choice_files
import ctc_runs
import note_files
import run_audio_classification
import run_language_modeling
import run_multiple_choice
import run_ner
import tag_files
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value

folder, counts = Path(sys.argv[1]), {"train": 24, "validation": 8, "test": 8}
common = "--use_cpu --disable_tqdm True --report_to none --max_steps 4 --save_strategy no --learning_rate 1e-2"
encoded = {"bytes": Value("binary"), "path": Value("string")}  # Audio() itself would want torchcodec here
stages = ["--do_train", "--do_eval", "--do_predict", "--push_to_hub"]


def train(module, name, rows, features, *options):
    plain = Features({**features, **({"sound": encoded} if "sound" in features else {})})
    data = {split: Dataset.from_list(rows(split, count), plain).cast(features) for split, count in counts.items()}
    DatasetDict(data).push_to_hub(f"alice/{name}-data")
    place = ["--dataset_name", f"alice/{name}-data", "--hub_model_id", f"alice/{name}"]
    module.main([*options, *place, "--output_dir", str(folder / name), *common.split(), *stages])


tags = [tag_files.TAGS[i] for i in (2, 0, 1)]  # another order than that of the alphabet
sentences = lambda split, n: [{"tokens": words, "ner_tags": t} for words, t in tag_files.sentences(n, split)]
features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=tags))})
model = ["--model_name_or_path", tag_files.save_tiny_tagger(folder / "tagger")]
train(run_ner, "names", sentences, features, *model)

questions = lambda split, n: choice_files.questions(n, split)
features = Features({**dict.fromkeys(choice_files.COLUMNS[:-1], Value("string")), "label": Value("int64")})
model = ["--model_name_or_path", choice_files.save_tiny_chooser(folder / "chooser")]
train(run_multiple_choice, "choices", questions, features, *model)

sizes = "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"
texts = lambda split, n: [{"text": f"one two {i % 3} three four"} for i in range(n)]
model = ["--model_type", "llama", "--config_overrides", sizes, "--vocabulary", "words", "--block_size", "5"]
train(run_language_modeling, "texts", texts, Features({"text": Value("string")}), *model)

note_files.write_notes(folder / "notes", counts)
features = Features({"sound": Audio(), "note": ClassLabel(names=["c", "b", "a"])})


def sounds(split, count):
    files = sorted((folder / "notes" / split).rglob("*.wav"))
    return [{"sound": {"path": None, "bytes": file.read_bytes()}, "note": file.parent.name} for file in files]


config = {**ctc_runs.WAVEFORM_MODEL, "classifier_proj_size": 16}
model = ["--config_name", ctc_runs.write_model(folder / "ears", config)]
columns = ["--audio_column_name", "sound", "--label_column_name", "note", "--test_split_name", "test"]
train(run_audio_classification, "sounds", sounds, features, *model, *columns)
"""
ELSEWHERE = """
import json
import sys
from pathlib import Path

import soundfile
import torch
from transformers import AutoTokenizer

cards, given, found = json.loads(sys.argv[2]), json.loads(sys.argv[3]), {}
for name, card in cards.items():
    known, code = {}, card.split("```python\\n")[1].split("```")[0]  # the card's own
    if name == "texts":
        tokenizer = AutoTokenizer.from_pretrained("alice/texts")
        known["inputs"] = {"input_ids": tokenizer(given[name], return_tensors="pt")["input_ids"]}
    exec(code, known)
    if name == "names":
        options = {"aggregation_strategy": "none", "ignore_labels": []}
        entities = [entity for text in given[name] for entity in known["classify"](text, **options)]
        found[name] = [entity["entity"] for entity in entities if not entity["word"].startswith("##")]
    elif name == "choices":
        answers = [known["classify"](question) for question in given[name]]
        found[name] = [str(max(range(3), key=lambda i: answer[i]["score"])) for answer in answers]
    elif name == "sounds":
        read = [soundfile.read(file, dtype="float32") for file in given[name]]
        found[name] = [known["classify"]({"raw": signal, "sampling_rate": rate})[0]["label"] for signal, rate in read]
    else:
        ids = known["inputs"]["input_ids"]
        chosen = known["probabilities"][:, :-1].gather(-1, ids[:, 1:, None])
        found[name] = chosen.log().mean((1, 2)).tolist()
Path(sys.argv[1]).write_text(json.dumps(found))
"""
TASKS = {
    "names": "token-classification",
    "choices": "multiple-choice",
    "texts": "text-generation",
    "sounds": "audio-classification",
}


def inputs(folder: Path) -> dict[str, Any]:
    """What others ask of each model: the rows of its test split."""
    asked: dict[str, Any] = {"names": [" ".join(words) for words, _ in sentences(8, "test")]}
    asked["choices"] = [
        {"context": row["sent1"], "choices": [f"{row['sent2']} {row[f'ending{i}']}" for i in range(3)]}
        for row in questions(8, "test")
    ]
    asked["texts"] = [f"one two {i % 3} three four" for i in range(8)]
    return {**asked, "sounds": [str(file) for file in sorted((folder / "notes" / "test").rglob("*.wav"))]}


def test_others_get_the_owners_answers_by_the_cards(tmp_path: Path) -> None:
    path = f"{EXAMPLES.parent}:{EXAMPLES}:{Path(__file__).parents[1] / 'helpers'}"
    with LoopbackHub(TOKENS) as hub:

        def execute(name: str, code: str, arguments: list[str], token: str | None) -> None:
            env = {key: value for key, value in environment(tmp_path / name).items() if not key.startswith("HF_")}
            env |= hub.env(tmp_path / name, token) | {"PYTHONPATH": path}
            run([sys.executable, "-c", code, *arguments], env, tmp_path / f"{name}.txt")

        execute("owner", OWNER, [str(tmp_path)], "hf_alice_write")
        cards = {name: hub.read(f"alice/{name}", "README.md").decode() for name in TASKS}
        asked = [json.dumps(cards), json.dumps(inputs(tmp_path))]
        execute("elsewhere", ELSEWHERE, [str(tmp_path / "found.json"), *asked], None)
    found = json.loads((tmp_path / "found.json").read_text())
    table: Any = pd.read_csv(tmp_path / "names" / "test_predictions.tsv", sep="\t")
    assert found["names"] == list(table["prediction"])
    for name in ("choices", "sounds"):
        assert found[name] == predictions(tmp_path / name) and len(found[name]) == 8
    table = pd.read_csv(tmp_path / "texts" / "test_predictions.tsv", sep="\t")
    assert found["texts"] == pytest.approx(list(table["log_probability"]), abs=1e-4)
    for name, task in TASKS.items():
        metrics, values = results(tmp_path / name), read_card(cards[name])
        assert [metrics[f"{split}_samples"] for split in ("train", "eval", "test")] == [24, 8, 8]
        assert card_errors(cards[name]) == [] and str(tmp_path) not in cards[name]
        assert (values["pipeline_tag"], values["datasets"]) == (task, [f"alice/{name}-data"])
