"""Studies of our own example scripts, their runs in this process: what they record, keep, and refuse beforehand."""

import json
from pathlib import Path
from typing import Any

import pytest
from choice_files import save_tiny_chooser, write_files
from example_scripts import QUIET
from foreign_script import PoolHere, execute_here
from picture_files import MODEL, SHORT, write_pictures
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss import load_loss
from hf_squareloss.comparison import Options, RunRecord, carry_out, make_study, read_runs
from hf_squareloss.comparison._orders import Orders
from hf_squareloss.comparison._schedule import tuning_runs
from hf_squareloss.comparison._scripts import from_words


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A study of the toy task: two losses, one seed, two epochs."""
    folder = tmp_path_factory.mktemp("toy")
    files = {f"{split}_file": str(path) for split, path in write_toy_files(folder / "files").items()}
    return {
        "title": "toy",
        "tasks": {"toy": files},
        "models": {"tiny": {"model_name_or_path": str(save_tiny_model(folder / "model"))}},
        "losses": ["cross_entropy", {"square": {"k": [1], "M": [2]}}],
        "learning_rates": [1e-2],
        "seeds": [0],
        "arguments": {"num_train_epochs": 2, "use_cpu": True},
    }


def run(content: dict[str, Any], folder: Path, pool: PoolHere | None = None, **options: Any) -> list[RunRecord]:
    return carry_out(make_study(content, "here"), Options(folder, **options), pool or PoolHere())


def test_both_parts_of_every_epoch_are_recorded(toy: dict[str, Any], tmp_path: Path) -> None:
    records = run(toy, tmp_path / "out", pool := PoolHere())
    assert [order.key.startswith("rehearsal") for order in pool.made] == [True, False, False]
    assert [(record.label, record.status) for record in records] == [
        ("cross_entropy", "finished"),
        ("square, k = 1, M = 2", "finished"),
    ]
    for record in records:
        assert [epoch.epoch for epoch in record.epochs] == [1.0, 2.0]
        for epoch in record.epochs:
            assert epoch.test is not None and epoch.validation.keys() == epoch.test.keys()
            assert epoch.validation.keys() >= {"accuracy", "f1", "ece", "brier", "nll"}
        assert record.reliability is not None and record.reliability.keys() == {"validation", "test"}
        best = max(record.epochs, key=lambda epoch: epoch.validation["accuracy"] or 0)
        bins = record.reliability["validation"]
        assert bins is not None and sum(bins.count) == 32
        right = sum(n * (a or 0) for n, a in zip(bins.count, bins.accuracy, strict=True))
        assert right / 32 == pytest.approx(best.validation["accuracy"])
        assert record.seconds is not None and record.seconds > 0 and record.overhead_seconds is not None
        assert str(tmp_path) not in record.model_dump_json()
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"runs", "work", "logs"}
    assert list((tmp_path / "out/work").iterdir()) == []


def test_the_same_run_again_is_the_same(toy: dict[str, Any], tmp_path: Path) -> None:
    first, second = (run(toy, tmp_path / name) for name in ("first", "second"))
    assert [record.epochs for record in first] == [record.epochs for record in second]


def test_label_noise_changes_the_runs(toy: dict[str, Any], tmp_path: Path) -> None:
    given = {**toy, "losses": ["square"], "label_noise": [0.0, 0.5]}
    plain, noisy = run(given, tmp_path / "out")
    assert (plain.label_noise, noisy.label_noise) == (0.0, 0.5)
    assert (plain.epochs[-1].validation["nll"] or 1) < (noisy.epochs[-1].validation["nll"] or 0)


def test_the_best_models_are_kept_on_request(toy: dict[str, Any], tmp_path: Path) -> None:
    given = {**toy, "losses": ["square"], "seeds": [0, 1, 2]}
    records = run(given, tmp_path / "out", keep_models=True)
    (kept,) = (tmp_path / "out/models").iterdir()
    best = max(records, key=lambda r: max(epoch.validation["accuracy"] or 0 for epoch in r.epochs))
    assert kept.name == best.identity and (kept / "model.safetensors").exists()
    assert load_loss(kept).to_dict()["loss"] == "square" and not list(kept.glob("checkpoint-*"))
    state = json.loads((kept / "trainer_state.json").read_text())
    assert state["best_metric"] == max(epoch.validation["accuracy"] or 0 for epoch in best.epochs)


def test_a_run_that_was_begun_without_its_model_starts_anew(
    toy: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study({**toy, "losses": ["square"]}, "here")
    execute_here(Orders(study, Options(tmp_path / "out")).order(tuning_runs(study)[0]))  # its process died behind it
    (record,) = carry_out(study, Options(tmp_path / "out", keep_models=True), PoolHere())
    assert "it was begun with another --keep_models or --metric, and starts anew" in capsys.readouterr().out
    assert record.status == "finished" and (tmp_path / "out/models" / record.identity / "model.safetensors").exists()


def test_a_run_that_diverges_counts_as_one(toy: dict[str, Any], tmp_path: Path) -> None:
    given = {
        **toy,
        "losses": ["square"],
        "learning_rates": [1e30],
        "arguments": toy["arguments"] | {"max_grad_norm": 0},
    }
    (record,) = run(given, tmp_path / "out")
    assert record.status == "diverged" and "not finite" in (record.error or "")
    assert run(given, tmp_path / "out", pool := PoolHere()) == [record] and pool.made == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"tasks": {"text_column": "no_such_column"}},
            "toy with tiny: .*no column 'no_such_column'; it has text, label",
        ),
        ({"models": {"model_name_or_path": "no/such-model"}}, "toy with tiny: run_glue.py: error: .*huggingface"),
        ({"arguments": {"no_such_option": 1}}, "toy with tiny: .*no_such_option"),
        ({"metric": "acc"}, "toy with tiny measures no metric 'acc' on validation: there are accuracy, brier"),
    ],
)
def test_wrong_names_are_refused_before_the_first_run(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], says: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = dict(toy)
    for part, entry in changed.items():
        given[part] = entry
        if part in ("tasks", "models"):
            given[part] = {name: each | entry for name, each in toy[part].items()}
        elif part == "arguments":
            given[part] = toy[part] | entry
    with pytest.raises(ValueError, match=says):
        run(given, tmp_path / "out")
    assert read_runs(tmp_path / "out") == []


def test_images_in_folders(tmp_path: Path) -> None:
    words = write_pictures(tmp_path / "pictures", {"train": 32, "validation": 16, "test": 16})
    given = from_words([*words, *MODEL, *SHORT, *QUIET])
    script = {"script": "run_image_classification.py", **{n: v for n, v in given.items() if n != "learning_rate"}}
    study = {"title": "pictures", "tasks": {"pictures": script}, "models": {"scratch": {}}, "losses": ["square"]}
    (record,) = run({**study, "learning_rates": [1e-2], "seeds": [0]}, tmp_path / "out")
    assert record.epochs[-1].test is not None and record.epochs[-1].test.keys() >= {"accuracy", "ece", "nll"}
    assert str(record.settings["train_dir"]).startswith("sha256 ")


def test_questions_with_several_answers(tmp_path: Path) -> None:
    words = ["--model_name_or_path", save_tiny_chooser(tmp_path / "model"), *write_files(tmp_path)]
    given = from_words([*words, "--max_steps", "12", "--max_train_samples", "64", *QUIET])
    task = {"script": "run_multiple_choice.py", **given}
    study = {"title": "choices", "tasks": {"choices": task}, "models": {"tiny": {}}, "losses": ["square"]}
    (record,) = run({**study, "learning_rates": [1e-3], "seeds": [0]}, tmp_path / "out")
    test = record.epochs[-1].test
    assert test is not None and {"accuracy", "ece", "brier", "nll"} <= test.keys()
    assert "f1" not in test  # places of choices are no classes


def test_language_models_by_an_error(tmp_path: Path) -> None:
    for split, count in (("train", 64), ("validation", 16), ("test", 16)):
        lines = [f"one two {i % 3} three four" for i in range(count)]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    sizes = "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"
    task = {"script": "run_language_modeling.py", "metric": "perplexity"}
    task |= {f"{split}_file": str(tmp_path / f"{split}.txt") for split in ("train", "validation", "test")}
    model = {"model_type": "llama", "config_overrides": sizes, "vocabulary": "words", "block_size": 5}
    study = {"title": "words", "tasks": {"words": task}, "models": {"llama": model}, "learning_rates": [1e-3, 1e-2]}
    study |= {"losses": ["cross_entropy"], "seeds": [0, 1, 2], "arguments": {"max_steps": 4, "use_cpu": True}}
    records = run(study, tmp_path / "out")
    means = {
        rate: sum(r.epochs[-1].validation["perplexity"] or 0 for r in records if r.learning_rate == rate and r.seed < 2)
        for rate in (1e-3, 1e-2)
    }
    (chosen,) = {record.learning_rate for record in records if record.seed == 2}
    assert means[chosen] == min(means.values()) and len(set(means.values())) == 2
