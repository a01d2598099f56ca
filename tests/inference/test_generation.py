"""Log probabilities of the loss's own, and generation against every short sequence."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import transformers as tf
from contract import EVERY, title
from tiny_models import GPT2, make_examples, make_model
from torch import Tensor

from hf_squareloss import CrossEntropy, Loss, SquareLoss, attach_loss
from hf_squareloss.inference import log_probabilities, probability_generation

PLAIN = SquareLoss(k=1.0, M=1.0)
LOSSES: list[Loss] = [*EVERY, CrossEntropy(label_smoothing=0.2, class_weights=(1.0, 2.0, 3.0))]


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.7 + 0.3


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_log_probabilities_are_finite_and_of_the_loss(loss: Loss) -> None:
    scores = torch.cat([random_scores(4, 3), torch.tensor([[0.0, 0.0, 0.0], [50.0, -50.0, 0.0], [-1.0, -1.0, -2.0]])])
    found = log_probabilities(scores, loss)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.exp(), loss.probabilities(scores))
    torch.testing.assert_close(found.log_softmax(-1), found)  # what decoders do to it changes nothing


def test_log_probabilities_of_a_model() -> None:
    model = attach_loss(make_model("gpt2_causal"), SquareLoss(k=2.0, M=3.0))
    scores = random_scores(2, 50)
    torch.testing.assert_close(log_probabilities(scores, model), SquareLoss(k=2.0, M=3.0).probabilities(scores).log())
    with pytest.raises(ValueError, match="hf_squareloss"):
        log_probabilities(scores, make_model("gpt2_causal"))


PAD, START, END = 0, 1, 2


def bigram_model(table: Tensor) -> tf.GPT2LMHeadModel:
    """A GPT-2 whose raw scores after token i are row i of `table` (V, V), exactly."""
    size = len(table)
    shape = {"vocab_size": size, "n_embd": size, "n_head": 1, "tie_word_embeddings": False}
    model = tf.GPT2LMHeadModel(tf.GPT2Config(**{**GPT2, **shape})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.transformer.wte.weight.copy_(torch.eye(size))
        # The layer norm of a one-hot vector, undone.
        model.transformer.ln_f.weight.fill_(math.sqrt((1 - 1 / size) / size + model.config.layer_norm_epsilon))
        model.transformer.ln_f.bias.fill_(1 / size)
        model.lm_head.weight.copy_(table.T)
    return model


def garden_path() -> Tensor:
    """Scores that are probabilities (k = M = 1): A (.6) goes on to C (.7) or D, B (.4) to C for sure."""
    a, b, c, d = 3, 4, 5, 6
    table = torch.zeros(7, 7)
    table[START, a], table[START, b] = 0.6, 0.4
    table[a, c], table[a, d] = 0.7, 0.3
    table[b, c] = 1.0
    table[c, END] = table[d, END] = table[END, END] = 1.0
    return table


def beams(model: Any, start: Tensor, **options: Any) -> Any:
    return model.generate(
        start, attention_mask=torch.ones_like(start), num_beams=4, length_penalty=0.0, max_new_tokens=3, **options
    )


def test_beam_search_is_wrong_without_the_link_and_right_with_it() -> None:
    model = attach_loss(bigram_model(garden_path()), PLAIN)
    start = torch.tensor([[START]])
    torch.testing.assert_close(model(start).logits[0, 0], garden_path()[START])
    wrong = [START, 6, END]  # no path of the table: a log_softmax of these scores is nearly flat, so short ones win
    assert beams(model, start)[0].tolist() == wrong
    with probability_generation(model):
        found = beams(model, start, output_scores=True, return_dict_in_generate=True)
    assert found.sequences[0].tolist() == [START, 3, 5, END]
    assert found.sequences_scores[0].exp().item() == pytest.approx(0.6 * 0.7, rel=1e-4)
    assert beams(model, start)[0].tolist() == wrong  # undone


def every_sequence(model: Any, loss: Loss, length: int, inputs: dict[str, Tensor]) -> dict[tuple[int, ...], float]:
    """log p of all decoder sequences that end in END or have `length` tokens, from forwards alone."""
    size = model.config.vocab_size
    found = {}
    for n in range(1, length + 1):
        for tail in itertools.product(range(size), repeat=n):
            if END in tail[:-1] or (n < length and tail[-1] != END):
                continue
            found[tail] = 0.0
    sequences = torch.tensor([[START, *tail, *[PAD] * (length - len(tail))] for tail in found])
    batch = {name: value.expand(len(sequences), *value.shape[1:]) for name, value in inputs.items()}
    with torch.no_grad():
        scores = model(**batch, decoder_input_ids=sequences[:, :-1]).logits
    log_p = loss.probabilities(scores).log().gather(-1, sequences[:, 1:, None]).squeeze(-1)
    return {tail: row[: len(tail)].sum().item() for tail, row in zip(found, log_p, strict=True)}


@pytest.mark.parametrize("loss", EVERY, ids=title)
def test_a_wide_beam_search_equals_all_sequences(loss: Loss) -> None:
    model = attach_loss(make_model("bart_seq2seq", vocab_size=5), loss)
    inputs = {"input_ids": torch.tensor([[3, 4, 4, 3, 2]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    expected = every_sequence(model, loss, 3, inputs)
    count = 30
    options = {"num_beams": 200, "num_return_sequences": count, "length_penalty": 0.0, "max_new_tokens": 3}
    with probability_generation(model):
        found = model.generate(**inputs, **options, return_dict_in_generate=True, output_scores=True)
    tails = [tuple(row[1:]) for row in found.sequences.tolist()]
    tails = [tail[: tail.index(END) + 1] if END in tail else tail for tail in tails]
    best = sorted(expected.values(), reverse=True)[:count]
    assert found.sequences_scores.tolist() == pytest.approx(best, abs=1e-4)
    assert [expected[tail] for tail in tails] == pytest.approx(best, abs=1e-4)
    plain = model.generate(**inputs, **options, return_dict_in_generate=True, output_scores=True)
    same = plain.sequences_scores.tolist() == pytest.approx(best, abs=1e-2)
    assert same == loss.scores_are_logits


def test_samples_and_returned_scores_are_of_the_loss() -> None:
    model = attach_loss(bigram_model(garden_path()), PLAIN)
    start = torch.full((400, 1), START)
    options: dict[str, Any] = {"attention_mask": torch.ones_like(start), "do_sample": True, "max_new_tokens": 1}
    torch.manual_seed(0)
    plain = model.generate(start, **options)[:, 1]  # type: ignore[attr-defined]
    with probability_generation(model):
        found = model.generate(start, **options, top_k=0, return_dict_in_generate=True, output_scores=True)  # type: ignore
    torch.testing.assert_close(found.scores[0][0].exp(), garden_path()[START])
    assert set(found.sequences[:, 1].tolist()) == {3, 4}
    assert (found.sequences[:, 1] == 3).float().mean().item() == pytest.approx(0.6, abs=0.08)
    assert (plain == 3).float().mean() < 0.4


@pytest.mark.parametrize("loss", [loss for loss in EVERY if loss.scores_are_logits], ids=title)
def test_models_whose_scores_are_logits_are_unchanged(loss: Loss) -> None:
    model = attach_loss(bigram_model(5 * garden_path()), loss)
    start = torch.tensor([[START]])
    plain = beams(model, start, output_scores=True, return_dict_in_generate=True)
    with probability_generation(model):
        scores = model(start).logits
        found = beams(model, start, output_scores=True, return_dict_in_generate=True)
    assert torch.equal(scores, model(start).logits)
    assert torch.equal(plain.sequences_scores, found.sequences_scores)


def test_label_smoothing_is_undone() -> None:
    loss = CrossEntropy(label_smoothing=0.2)
    model = attach_loss(bigram_model(5 * garden_path()), loss)
    start = torch.tensor([[START]])
    scores = model(start).logits
    with probability_generation(model):
        found = model(start).logits
    torch.testing.assert_close(found, loss.probabilities(scores).log())


def test_forwards_with_labels_keep_their_scores() -> None:
    model = attach_loss(make_model("bart_seq2seq"), PLAIN)
    batch = {name: value[None] for name, value in make_examples("bart_seq2seq", 1)[0].items()}
    expected = model(**batch)
    with probability_generation(model):
        found = model(**batch)
    assert torch.equal(found.logits, expected.logits) and torch.equal(found.loss, expected.loss)


def test_it_is_undone_after_an_error_and_does_not_apply_twice() -> None:
    model = attach_loss(bigram_model(garden_path()), PLAIN)
    start = torch.tensor([[START]])
    raw = model(start).logits
    with pytest.raises(RuntimeError, match="midway"), probability_generation(model):
        raise RuntimeError("midway")
    assert torch.equal(model(start).logits, raw)
    with probability_generation(model):
        once = model(start).logits
        with probability_generation(model):
            assert torch.equal(model(start).logits, once)
        assert torch.equal(model(start).logits, once)  # the inner one ends nothing
    assert torch.equal(model(start).logits, raw)
    copy.deepcopy(model)  # nothing is left that cannot be copied


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_a_peft_wrapper_is_looked_through() -> None:
    from peft import LoraConfig, get_peft_model

    model = attach_loss(bigram_model(garden_path()), PLAIN)
    wrapped = get_peft_model(model, LoraConfig(target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"))
    start = torch.tensor([[START]])
    with probability_generation(wrapped):
        found = wrapped.generate(input_ids=start, attention_mask=torch.ones_like(start), num_beams=4, max_new_tokens=3)
    assert found[0].tolist() == [START, 3, 5, END]


def test_refusals() -> None:
    for model, message in (
        (attach_loss(make_model("bert"), PLAIN), "cannot generate"),
        (torch.nn.Linear(2, 2), "cannot generate"),
        (make_model("bart_seq2seq"), "hf_squareloss"),
    ):
        with pytest.raises(ValueError, match=message), probability_generation(model):
            pass
