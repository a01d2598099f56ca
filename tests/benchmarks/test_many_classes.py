"""benchmarks/many_classes.py: the losses between, runs that go on, and the table."""

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from hf_squareloss import SquareLoss
from hf_squareloss.recipes.vocabulary import build_tokenizer

benchmark: Any = importlib.import_module("many_classes")
render: Any = importlib.import_module("render_many_classes")
SQUARES = {  # of the right score or f_y - f_i; of a wrong score
    "free_below": (lambda f: (f - 1) ** 2, lambda f: max(0.0, f) ** 2),
    "free_above": (lambda f: max(0.0, 1 - f) ** 2, lambda f: f**2),
    "free_both": (lambda f: max(0.0, 1 - f) ** 2, lambda f: max(0.0, f) ** 2),
    "relative_hinge": (lambda f: max(0.0, 1 - f) ** 2, None),
    "relative_square": (lambda f: (1 - f) ** 2, None),
}


@pytest.mark.parametrize("kind", SQUARES)
def test_each_loss_is_its_formula(kind: str) -> None:
    scores = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    right, wrong = SQUARES[kind]
    found = benchmark.LOSSES[kind].costs(scores)
    for f, costs in zip(scores.tolist(), found.tolist(), strict=True):
        for y, cost in enumerate(costs):
            others = [i for i in range(12) if i != y]
            if wrong is None:
                expected = sum(right(f[y] - f[i]) for i in others) / 12
            else:
                expected = (3 * right(f[y]) + sum(wrong(f[i]) for i in others)) / 12  # k = C / 4
            assert cost == pytest.approx(expected, rel=1e-5)


def test_the_logistic_loss_is_torchs_with_a_weight_of_the_right_class() -> None:
    scores = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    table = benchmark.LOSSES["logistic"].costs(scores)
    for c in range(8):
        target = torch.zeros(4, 8)
        target[:, c] = 1.0
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            scores, target, pos_weight=torch.tensor(2.0), reduction="none"
        ).mean(-1)
        torch.testing.assert_close(table[:, c], expected)


def test_the_square_loss_stands_at_one_end() -> None:
    scores = torch.rand(6, 20, generator=torch.Generator().manual_seed(0))  # from 0 to 1: nothing is free there
    torch.testing.assert_close(benchmark.LOSSES["free_both"].costs(scores), SquareLoss().resolve(20).costs(scores))
    assert not torch.allclose(benchmark.LOSSES["free_both"].costs(-scores), SquareLoss().resolve(20).costs(-scores))


def test_M_rises_to_the_square_loss() -> None:
    scores, square = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), SquareLoss(k=2.0, M=3.0)
    rising, labels = benchmark.RisingM(k=2.0, M=3.0), torch.arange(6)
    torch.testing.assert_close(rising.costs(scores), square.costs(scores))
    torch.testing.assert_close(rising.total(scores, labels), square.total(scores, labels))
    state = SimpleNamespace(global_step=0, max_steps=10)
    benchmark.Rise().on_step_begin(None, state, None)
    torch.testing.assert_close(rising.costs(scores), SquareLoss(k=2.0, M=1.5).costs(scores))  # a half of the way
    torch.testing.assert_close(rising(scores, labels), SquareLoss(k=2.0, M=1.5)(scores, labels))
    benchmark.Rise().on_train_end(None, state, None)
    torch.testing.assert_close(rising.costs(scores), square.costs(scores))


def test_a_bias_at_the_prior_means_the_frequencies() -> None:
    loss, labels = SquareLoss().resolve(12), [0] * 6 + [1] * 3 + [2]
    p = loss.probabilities(benchmark.prior_scores(labels, 12))
    torch.testing.assert_close(p[:4], torch.tensor([0.6, 0.3, 0.1, 0.0]), atol=1e-5, rtol=0)


def test_a_fast_head_is_ten_times_as_fast() -> None:
    model = torch.nn.ModuleDict({"body": torch.nn.Linear(2, 3), "classifier": torch.nn.Linear(3, 2)})
    body, head = benchmark.fast_head(model, 0.01).param_groups
    assert (body["lr"], head["lr"]) == (0.01, pytest.approx(0.1))
    assert [len(group["params"]) for group in (body, head)] == [2, 2] and head["params"][0] is model[
        "classifier"
    ].weight


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    texts = [f"a b c{i % 4} d" for i in range(48)]
    for name in ("train", "validation"):
        rows = "".join(f"{text}\tclass{i % 4}\n" for i, text in enumerate(texts))
        (tmp_path / f"{name}.tsv").write_text(f"text\tlabel\n{rows}")
    tokenizer = build_tokenizer(texts, "words", 20)
    tokenizer.save_pretrained(tmp_path / "model")
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=16, **size)).save_pretrained(
        tmp_path / "model"
    )
    files = [f"--{name}_file={tmp_path / name}.tsv" for name in ("train", "validation")]
    few = [
        "--num_train_epochs=1",
        "--max_train_samples=32",
        "--learning_rates",
        "1e-3",
        "3e-2",
        "--seeds",
        "0",
        "1",
        "2",
    ]
    return [*files, *few, f"--model_name_or_path={tmp_path / 'model'}", f"--output={tmp_path / 'out.json'}"]


def test_runs_are_kept_and_go_on(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = ["--losses", "cross_entropy", "square_fast_head", "square_from_prior", "square_rising_M"]
    benchmark.main([*arguments, *losses])
    results = json.loads((tmp_path / "out.json").read_text())
    assert len(results["runs"]) == 4 * (2 * 2 + 1)  # both rates with two seeds, the best with the third
    assert all(0 <= run[part] <= 1 for run in results["runs"] for part in ("train", "validation"))
    monkeypatch.setattr(benchmark.Experiment, "run", lambda *given: pytest.fail("it was run already"))
    benchmark.main([*arguments, *losses])
    table = render.many_classes_section(results)
    assert table.count("| 3 |") == 4 and "32 training rows, 1 epochs" in table


def test_the_table_takes_the_rate_that_validation_chose() -> None:
    def runs(loss: str, rate: float, *validation: float) -> list[dict[str, Any]]:
        shared = {"data": "toy", "samples": 100, "epochs": 3, "loss": loss, "learning_rate": rate}
        return [{**shared, "seed": seed, "train": 1.0, "validation": v} for seed, v in enumerate(validation)]

    every = [*runs("cross_entropy", 1e-3, 0.8, 0.8, 0.9), *runs("cross_entropy", 2e-3, 0.7, 0.8)]
    every += [*runs("square", 1e-3, 0.5, 0.6), *runs("square", 2e-3, 0.8, 0.7, 0.8)]
    environment = {"machine": "a core", "torch": "2", "transformers": "5", "commit": None}
    text = render.many_classes_section({"environment": environment, "threads": 1, "runs": every})
    line = next(line for line in text.splitlines() if line.startswith("| `square`"))
    assert line.split(" | ")[1:5] == ["0.002", "3", "1.000 ± 0.000", "0.767 ± 0.058"]
    assert "−6.67 [−21.01 to +7.68]" in line  # of 0, -10 and -10 points, by Student's t with two degrees
