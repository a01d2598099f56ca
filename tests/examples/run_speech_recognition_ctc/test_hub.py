"""examples/run_speech_recognition_ctc.py with a data set by name and a model pushed, on a loopback Hub."""

import json
import sys
from pathlib import Path

from ctc_runs import WAVEFORM_MODEL, rows_of, write_model
from example_scripts import predictions, results
from loopback_hub import TOKENS, LoopbackHub, card_errors, read_card
from processes import EXAMPLES, environment
from processes import run as execute

BY_NAME = """
import sys

from datasets import Audio, Dataset, DatasetDict
from run_speech_recognition_ctc import main

from hf_squareloss.recipes.speech_files import load_speech_files

folder, files = sys.argv[1], sys.argv[2:]
lists = dict(zip([name[2:-5] for name in files[::2]], files[1::2]))
data = DatasetDict()
for split, rows in load_speech_files(lists).items():
    audio = [{"path": a["path"], "bytes": open(a["path"], "rb").read()} for a in rows["audio"]]
    rows = Dataset.from_dict({"sound": audio, "sentence": rows["text"], "speaker": [0] * len(audio)})
    data["dev" if split == "validation" else split] = rows.cast_column("sound", Audio(decode=False))
data.push_to_hub("alice/melodies")
options = f"--dataset_name alice/melodies --audio_column_name sound --text_column_name sentence --use_cpu"
splits = "--train_split_name train+dev --eval_split_name test --test_split_name test --preprocessing_num_workers 2"
train = "--learning_rate 1e-2 --num_train_epochs 3 --save_strategy no --push_to_hub --hub_model_id alice/ears"
model = ["--config_name", folder + "/model", "--output_dir", folder + "/out", "--disable_tqdm", "True"]
main([*options.split(), *splits.split(), *train.split(), *model])
"""

LOAD_ELSEWHERE = """
import json
import sys

import soundfile
from transformers import pipeline

recognise = pipeline("automatic-speech-recognition", model="alice/ears", device="cpu")
read = [soundfile.read(path, dtype="float32") for path in sys.argv[2:]]
found = [recognise({"raw": signal, "sampling_rate": rate})["text"] for signal, rate in read]
open(sys.argv[1], "w").write(json.dumps(found))
"""


def test_a_data_set_by_name_and_a_model_pushed_and_loaded_elsewhere(files: list[str], tmp_path: Path) -> None:
    write_model(tmp_path / "model", WAVEFORM_MODEL)
    paths = [path for path, _ in rows_of(files, "test")][:8]
    with LoopbackHub(TOKENS) as hub:
        for name, code, arguments, token in (
            ("owner", BY_NAME, [str(tmp_path), *files], "hf_alice_write"),
            ("elsewhere", LOAD_ELSEWHERE, [str(tmp_path / "found.json"), *paths], None),
        ):
            env = {key: value for key, value in environment(tmp_path / name).items() if not key.startswith("HF_")}
            env |= hub.env(tmp_path / name, token) | {"PYTHONPATH": f"{EXAMPLES.parent}:{EXAMPLES}"}
            execute([sys.executable, "-c", code, *arguments], env, tmp_path / f"{name}.txt")
        card = hub.read("alice/ears", "README.md").decode()
    assert json.loads((tmp_path / "found.json").read_text()) == predictions(tmp_path / "out")[:8]
    found = results(tmp_path / "out")
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (152, 24, 24)
    assert card_errors(card) == []
    values = read_card(card)
    assert (values["pipeline_tag"], values["datasets"]) == ("automatic-speech-recognition", ["alice/melodies"])
    assert str(tmp_path) not in card
