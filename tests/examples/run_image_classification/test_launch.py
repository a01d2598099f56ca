"""examples/run_image_classification.py under `accelerate launch`, and with a Hub on loopback."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from example_scripts import QUIET, load_example, predictions, results
from loopback_hub import TOKENS, LoopbackHub, card_errors, read_card
from picture_files import write_pictures
from processes import ACCELERATE, EXAMPLES, environment, free_port
from processes import run as execute
from safetensors.torch import load_file

VIT = [
    *("--model_type", "vit", "--config_overrides", "image_size=8", "patch_size=4", "hidden_size=16"),
    *("num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16", "hidden_dropout_prob=0.0"),
]
STEPS = ["--optim", "sgd", "--learning_rate", "0.5", "--max_grad_norm", "0", "--num_train_epochs", "2", "--do_train"]

BY_NAME = """
import sys
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from run_image_classification import main

folder, data = Path(sys.argv[1]), DatasetDict()
for split in ("train", "test"):
    files = sorted((folder / "pictures" / split).rglob("*.png"))
    images = [{"path": None, "bytes": file.read_bytes()} for file in files]
    labels = [["across", "upright"].index(file.parent.name) for file in files]
    features = Features({"img": Image(), "kind": ClassLabel(names=["across", "upright"])})
    data[split] = Dataset.from_dict({"img": images, "kind": labels}, features=features)
data.push_to_hub("alice/bars")
options = "--dataset_name alice/bars --image_column_name img --label_column_name kind --test_split_name test --use_cpu"
model = "--model_type convnet --config_overrides hidden_sizes=[8,8] --augmentations none --disable_tqdm True"
train = "--learning_rate 1e-2 --train_val_split 0.25 --save_strategy no --push_to_hub --hub_model_id alice/eyes"
main([*options.split(), *model.split(), *train.split(), "--output_dir", str(folder / "out")])
"""
ELSEWHERE = """
import json
import sys
from pathlib import Path

code = Path(sys.argv[2]).read_text().split("```python\\n")[1].split("```")[0]  # the card's own
exec(code)
files = sorted(Path(sys.argv[3]).rglob("*.png"))
Path(sys.argv[1]).write_text(json.dumps([classify(str(file))[0]["label"] for file in files]))
"""


def test_two_processes_train_on_the_same_images_as_one(tmp_path: Path) -> None:
    """The random crops of the second epoch too, which are other ones than those of the first."""
    folders = write_pictures(tmp_path / "pictures", {"train": 32})
    common = [*VIT, *folders, *STEPS, "--save_strategy", "no", *QUIET]
    main = load_example("run_image_classification").main
    main([*common, "--per_device_train_batch_size", "32", "--output_dir", str(tmp_path / "one")])
    launch = [ACCELERATE, "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(free_port())]
    script = [str(EXAMPLES / "run_image_classification.py"), "--per_device_train_batch_size", "8"]
    more = ["--gradient_accumulation_steps", "2", "--output_dir", str(tmp_path / "two")]
    env = environment(tmp_path / "home", ACCELERATE_USE_CPU="true")
    execute([*launch, *script, *common, *more], env, tmp_path / "two.log")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert json.loads((tmp_path / "two" / "trainer_state.json").read_text())["global_step"] == 2
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    main([*common, "--per_device_train_batch_size", "32", "--output_dir", str(tmp_path / "other"), "--seed", "7"])
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert not all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)


def test_bfloat16(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run("--bf16", "--max_steps", "2", "--save_strategy", "no")
    assert results(tmp_path / "out")["eval_samples"] == 24


def test_a_data_set_by_name_and_a_model_pushed_and_loaded_by_its_card(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", {"train": 64, "test": 16})
    with LoopbackHub(TOKENS) as hub:
        for name, code, arguments, token in (
            ("owner", BY_NAME, [str(tmp_path)], "hf_alice_write"),
            (
                "elsewhere",
                ELSEWHERE,
                [*(str(tmp_path / path) for path in ("found.json", "card.md", "pictures/test"))],
                None,
            ),
        ):
            env = {key: value for key, value in environment(tmp_path / name).items() if not key.startswith("HF_")}
            env |= hub.env(tmp_path / name, token) | {"PYTHONPATH": f"{EXAMPLES.parent}:{EXAMPLES}"}
            execute([sys.executable, "-c", code, *arguments], env, tmp_path / f"{name}.txt")
            (tmp_path / "card.md").write_bytes(hub.read("alice/eyes", "README.md"))
    assert json.loads((tmp_path / "found.json").read_text()) == predictions(tmp_path / "out")
    found, card = results(tmp_path / "out"), (tmp_path / "card.md").read_text()
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (48, 16, 16)
    assert card_errors(card) == []
    values = read_card(card)
    assert (values["pipeline_tag"], values["datasets"]) == ("image-classification", ["alice/bars"])
