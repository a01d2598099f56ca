"""The recurrent text classifiers: padding changes nothing, formulas, learning, other numbers of classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_squareloss import SquareLoss, attach_loss, square_loss
from hf_squareloss.models import (
    LSTMAttentionConfig,
    LSTMAttentionForSequenceClassification,
    LSTMCNNConfig,
    LSTMCNNForSequenceClassification,
)

KINDS: dict[str, tuple[Any, Any]] = {
    "attention": (LSTMAttentionConfig, LSTMAttentionForSequenceClassification),
    "cnn": (LSTMCNNConfig, LSTMCNNForSequenceClassification),
}


def make(kind: str, **values: Any) -> Any:
    torch.manual_seed(0)
    config, model = KINDS[kind]
    sizes = {"vocab_size": 30, "embedding_size": 8, "hidden_size": 6, "hidden_dropout_prob": 0.0, "num_labels": 3}
    return model(config(**{**sizes, **values})).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_alone_has_the_scores_and_gradients_that_it_has_in_a_batch(kind: str, side: str) -> None:
    model = make(kind, num_hidden_layers=2)
    texts = [torch.randint(1, 30, (length,)) for length in (9, 1, 4, 2)]
    padded, mask = torch.zeros(4, 9, dtype=torch.long), torch.zeros(4, 9, dtype=torch.long)
    padded[:] = 7  # padding of any token
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(9 - len(text), 9)
        padded[row, place], mask[row, place] = text, 1
    together = model(padded, mask).logits
    alone = torch.cat([model(text.unsqueeze(0)).logits for text in texts])
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(model(padded).logits, alone, atol=1e-3)  # without the mask, padding is read
    gradients = []
    for scores in (together, alone):
        model.zero_grad()
        scores.square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))
    assert torch.allclose(*gradients, atol=1e-5) and gradients[0].norm() > 0


def test_attention_is_the_formula() -> None:
    model = make("attention")
    states = torch.randn(1, 5, 12)
    found = model.summary(states, torch.tensor([[True] * 3 + [False] * 2]))
    weights = [float(model.context(torch.tanh(model.projection(states[0, t])))[0].detach().exp()) for t in range(3)]
    expected = sum(weight / sum(weights) * states[0, t] for t, weight in enumerate(weights))
    assert torch.allclose(found[0], torch.as_tensor(expected), atol=1e-6)


def test_filters_are_the_formula() -> None:
    model = make("cnn", filter_sizes=[2, 3], num_filters=2)
    states = torch.randn(1, 4, 12)
    expected = []
    for layer, size in zip(model.filters, (2, 3), strict=True):
        windows = [
            torch.stack(
                [states[0, i] if 0 <= i < 4 else torch.zeros(12) for i in range(t - size // 2, t - size // 2 + size)]
            )
            for t in range(4)
        ]
        values = torch.stack([(layer.weight * window.T).sum((1, 2)) + layer.bias for window in windows])
        expected.append(values.relu().amax(0))
    assert torch.allclose(model.summary(states, torch.ones(1, 4, dtype=torch.bool))[0], torch.cat(expected), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_the_order_of_words(kind: str) -> None:
    """Whether 5 comes before 6: a bag of words could not say."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(7, 30, (96, 6), generator=generator)
    labels = torch.arange(96) % 2
    for row, label in zip(texts, labels.tolist(), strict=True):
        first, second = torch.randperm(6, generator=generator)[:2].sort().values
        row[first], row[second] = (5, 6) if label else (6, 5)
    model = make(kind, num_labels=2, hidden_size=16).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        model(texts, labels=labels).loss.backward()
        optimizer.step()
    assert (model(texts).logits.argmax(-1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_other_classes(kind: str, tmp_path: Path) -> None:
    model, texts, labels = make(kind), torch.randint(1, 30, (4, 5)), torch.tensor([0, 2, 1, 1])
    found = model(texts, labels=labels)
    assert torch.allclose(found.loss, torch.nn.functional.cross_entropy(found.logits, labels))
    assert model.embed_tokens.weight[0].abs().sum() == 0 and model.get_input_embeddings() is model.embed_tokens
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    wider = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    bound = model.classifier.in_features**-0.5
    assert wider.classifier.weight.shape[0] == 5 and 0.5 * bound < wider.classifier.weight.abs().max() <= bound
    assert torch.equal(wider.forward_layers[0].weight_hh_l0, model.forward_layers[0].weight_hh_l0)
    attach_loss(model, SquareLoss(k=1.0, M=1.0))
    assert torch.allclose(model(texts, labels=labels).loss, square_loss(found.logits, labels).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_empty_texts_are_texts_of_padding(kind: str) -> None:
    """A batch that holds nothing else, as sampling by length makes one."""
    model = make(kind)
    padding = torch.full((2, 3), model.config.pad_token_id)
    expected = model(padding, torch.zeros(2, 3, dtype=torch.long)).logits
    empty = torch.empty(2, 0, dtype=torch.long)
    for mask in (None, empty):
        assert torch.allclose(model(empty, mask).logits, expected, atol=1e-6)
