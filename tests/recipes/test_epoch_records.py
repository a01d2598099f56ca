"""epochs.json: the values of the saved models, the bins of a naive loop, and a resumed run keeps them."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from example_scripts import QUIET, load_example
from glue_runs import file_options, weights
from tiny_text_model import save_tiny_model, write_toy_files
from transformers import TrainerCallback

from hf_squareloss.recipes.epoch_records import equal_mass_bins
from hf_squareloss.recipes.run_files import EPOCHS, read_object

run_glue = load_example("run_glue")


def read_epochs(folder: Path) -> list[dict[str, Any]]:
    return read_object(folder / EPOCHS)["epochs"]


RECORD = ["--do_train", "--record_epochs", "--eval_strategy", "epoch", "--learning_rate", "1e-2", *QUIET]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("toy")
    return [*file_options(write_toy_files(folder)), "--model_name_or_path", str(save_tiny_model(folder / "model"))]


@pytest.fixture(scope="module")
def recorded(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    saved = ["--num_train_epochs", "2", "--save_strategy", "epoch", "--output_dir", str(folder)]
    run_glue.main([*given, *RECORD, *saved, "--loss", "square"])
    return folder


def test_every_epoch_has_what_its_checkpoint_measures(given: list[str], recorded: Path, tmp_path: Path) -> None:
    entries = read_epochs(recorded)
    assert [entry["epoch"] for entry in entries] == [1.0, 2.0]
    for entry, step in zip(entries, (8, 16), strict=True):
        files = given[:-1]
        out = tmp_path / str(step)
        checkpoint = str(recorded / f"checkpoint-{step}")
        run_glue.main([*files, checkpoint, "--do_eval", "--do_predict", *QUIET, "--output_dir", str(out)])
        found = json.loads((out / "all_results.json").read_text())
        for split, prefix in (("validation", "eval"), ("test", "test")):
            calibrated = {name: entry[split].pop(f"calibrated_{name}") for name in ("ece", "brier", "nll")}
            assert set(entry[split]) == {"loss", "accuracy", "f1", "ece", "brier", "nll"}
            assert calibrated["nll"] < entry[split]["nll"]  # on test too, by the number that validation gave
            for metric, value in entry[split].items():
                assert value == pytest.approx(found[f"{prefix}_{metric}"], abs=1e-5), (split, metric)
            curve = entry["reliability"][split]
            assert len(curve["count"]) == 15 and sum(curve["count"]) == 32
            assert np.dot(curve["count"], curve["accuracy"]) / 32 == pytest.approx(entry[split]["accuracy"])
        assert entry["seconds"] > 0


def test_nothing_is_evaluated_again(recorded: Path) -> None:
    assert not (recorded / "eval_results.json").exists() and not (recorded / "test_results.json").exists()


def test_a_resumed_run_keeps_the_epochs_before(given: list[str], recorded: Path, tmp_path: Path) -> None:
    whole = read_epochs(recorded)
    options = [*given, *RECORD, "--loss", "square", "--num_train_epochs", "2", "--save_strategy", "epoch"]
    run_glue.main([*options, "--output_dir", str(tmp_path)])
    (again := tmp_path / "checkpoint-16").rename(tmp_path / "gone")
    assert not again.exists()
    torn = read_epochs(tmp_path)
    torn[0]["seconds"] = -1.0  # the mark of the first run
    (tmp_path / EPOCHS).write_text(json.dumps({"epochs": torn}))
    run_glue.main([*options, "--output_dir", str(tmp_path)])
    entries = read_epochs(tmp_path)
    assert [entry["epoch"] for entry in entries] == [1.0, 2.0]
    assert entries[0]["seconds"] == -1.0 and entries[1]["seconds"] > 0
    for entry, before in zip(entries, whole, strict=True):
        assert entry["validation"]["accuracy"] == before["validation"]["accuracy"]


class Killed(BaseException):
    """As a kill: nothing in between catches it."""


class KillAt(TrainerCallback):
    """Ends the process, once, in the first evaluation of an epoch: of validation (part 0) or test (part 1).

    Args:
        step: in a step of training instead, counted from 1.
    """

    def __init__(self, epoch: float = 0.0, part: int = 0, step: int = 0) -> None:
        self.epoch, self.part, self.step, self.measured = epoch, part, step, 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == self.step:
            raise Killed

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (state.epoch, self.measured) == (self.epoch, self.part):
            raise Killed

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.measured += state.epoch == self.epoch


def without_seconds(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in read_epochs(folder)]


RunOf = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """The folder of an undisturbed run of so many steps or epochs, made once."""

    @cache
    def run(*length: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        run_glue.main([*given, *RECORD, *STEPWISE, *length, "--output_dir", str(folder)])
        return folder

    return run


STEPWISE = ["--loss", "square", "--save_strategy", "steps", "--save_steps", "8"]


# 8 steps an epoch; the Trainer saves at the step that ends an epoch, or training, before it evaluates there.
@pytest.mark.parametrize(
    ("length", "kill"),
    [
        (["--num_train_epochs", "1"], {"epoch": 1.0}),
        (["--num_train_epochs", "1"], {"epoch": 1.0, "part": 1}),
        (["--num_train_epochs", "2"], {"epoch": 1.0}),
        (["--num_train_epochs", "2"], {"epoch": 2.0}),
        (["--num_train_epochs", "2"], {"step": 11}),
        (["--max_steps", "12"], {"epoch": 1.5}),
    ],
    ids=["only_epoch", "in_its_test_part", "first_epoch", "last_epoch", "behind_first_epoch", "half_an_epoch"],
)
def test_no_epoch_is_lost_by_a_kill_before_its_evaluation_has_ended(
    given: list[str],
    whole: RunOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    length: list[str],
    kill: dict[str, Any],
) -> None:
    cut = [*given, *RECORD, *STEPWISE, *length, "--output_dir", str(tmp_path)]
    with monkeypatch.context() as patch:
        callbacks = [*transformers.trainer.DEFAULT_CALLBACKS, KillAt(**kill)]
        patch.setattr(transformers.trainer, "DEFAULT_CALLBACKS", callbacks)
        with pytest.raises(Killed):
            run_glue.main(cut)
    run_glue.main(cut)
    assert without_seconds(tmp_path) == without_seconds(whole(*length))
    assert torch.equal(weights(tmp_path), weights(whole(*length)))  # dropout had the same random numbers
    seconds = json.loads((tmp_path / "all_results.json").read_text())["train_runtime"]
    assert 0 < sum(entry["seconds"] for entry in read_epochs(tmp_path)) < seconds


def test_a_finished_run_is_not_evaluated_again(given: list[str], whole: RunOf) -> None:
    before = read_epochs(folder := whole("--num_train_epochs", "1"))
    run_glue.main([*given, *RECORD, *STEPWISE, "--num_train_epochs", "1", "--output_dir", str(folder)])
    assert read_epochs(folder) == before


def test_a_record_of_nothing_is_refused(given: list[str], tmp_path: Path) -> None:
    options = [*given, *RECORD, "--output_dir", str(tmp_path)]
    options[options.index("epoch")] = "no"
    with pytest.raises(ValueError, match="record_epochs needs a validation split and an --eval_strategy"):
        run_glue.main(options)


def test_a_test_part_without_labels_is_left_out(given: list[str], tmp_path: Path) -> None:
    options = list(given)
    place = options.index("--test_file") + 1
    (hidden := tmp_path / "hidden.tsv").write_text("text\n" + "a fine film\n" * 4)
    options[place] = str(hidden)
    run_glue.main([*options, *RECORD, "--max_steps", "1", "--save_strategy", "no", "--output_dir", str(tmp_path)])
    (entry,) = read_epochs(tmp_path)
    assert "validation" in entry and "test" not in entry


@pytest.mark.parametrize("items", [200, 47, 15, 4])
def test_the_bins_are_those_of_a_naive_loop(items: int) -> None:
    generator = np.random.default_rng(items)
    probabilities = generator.dirichlet([1.0, 1.0, 1.0], items)
    labels = generator.integers(0, 3, items)
    order = sorted(range(items), key=lambda i: max(probabilities[i]))
    bins = min(items, 15)
    sizes = [items // bins + (b < items % bins) for b in range(bins)]
    expected: Any = {"confidence": [], "accuracy": [], "count": sizes}
    for size in sizes:
        taken, order = order[:size], order[size:]
        expected["confidence"].append(pytest.approx(sum(max(probabilities[i]) for i in taken) / size))
        right = [list(probabilities[i]).index(max(probabilities[i])) == labels[i] for i in taken]
        expected["accuracy"].append(pytest.approx(sum(right) / size))
    assert equal_mass_bins(probabilities, labels) == expected
