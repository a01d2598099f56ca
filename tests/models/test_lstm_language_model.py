"""The recurrent language model: padding on either side, the shift of its loss, generation, no scores in training."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import WithoutScores, arguments

from hf_squareloss import SquareLoss
from hf_squareloss.models import LSTMConfig, LSTMForCausalLM


def make(**values: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "embedding_size": 8, "hidden_size": 12, "num_hidden_layers": 2}
    return LSTMForCausalLM(LSTMConfig(**{**sizes, **values})).eval()


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(side: str) -> None:
    model, text = make(), torch.randint(1, 20, (1, 4))
    padding = torch.full((1, 3), 7)
    parts, marks = (
        ([text, padding], [text > 0, padding < 0]) if side == "right" else ([padding, text], [padding < 0, text > 0])
    )
    place = slice(0, 4) if side == "right" else slice(3, 7)
    found = model(torch.cat(parts, 1), torch.cat(marks, 1).long()).logits[:, place]
    assert torch.allclose(found, model(text).logits, atol=1e-6)
    if side == "left":
        assert not torch.allclose(model(torch.cat(parts, 1)).logits[:, place], found, atol=1e-3)


def test_a_token_sees_what_comes_before_it_alone() -> None:
    model, text = make(), torch.randint(1, 20, (1, 6))
    other = text.clone()
    other[0, 3] = (text[0, 3] + 1) % 20
    change = (model(text).logits - model(other).logits).abs().sum(-1)[0]
    assert (change[:3] == 0).all() and (change[3:] > 0).all()


def test_its_loss_is_of_the_next_token() -> None:
    model, text = make(), torch.randint(1, 20, (2, 5))
    found = model(text, labels=text)
    expected = torch.nn.functional.cross_entropy(found.logits[:, :-1].flatten(0, 1), text[:, 1:].flatten())
    assert torch.allclose(found.loss, expected)


def test_generation_is_the_largest_score_again_and_again() -> None:
    model, text = make(), torch.randint(1, 20, (1, 3))
    found = model.generate(text, attention_mask=torch.ones_like(text), max_new_tokens=4, do_sample=False)
    for _ in range(4):
        text = torch.cat([text, model(text).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(found, text)


def test_it_is_trained_without_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make(vocab_size=200, hidden_dropout_prob=0.1)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(1, 200, (8, 6))]
    before = model.lm_head.weight.clone()
    with caplog.at_level(logging.WARNING):
        WithoutScores(model, arguments(tmp_path, max_steps=2), train_dataset=rows, loss=SquareLoss(k=9.0)).train()  # type: ignore[arg-type]
    assert "builds the scores" not in caplog.text and not torch.equal(model.lm_head.weight, before)
