"""Heads that are off the beaten track: trained with the right loss, or refused by name before anything is written."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import BERT, CLASSES, GradientRecorder, arguments, flat_gradient, make_examples, make_model
from torch import Tensor, nn

from hf_squareloss import CrossEntropy, SquareLoss, SquareLossTrainer, attach_loss, detach_loss
from hf_squareloss.config import KEY
from hf_squareloss.heads import Head

tf: Any = import_module("transformers")  # whose classes of configs have few types
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
VIDEO: dict[str, Any] = {
    **{"image_size": 32, "patch_size": 8, "tubelet_size": [1, 8, 8], "num_frames": 2, "num_spatial_layers": 1},
    **{"num_temporal_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32},
}
LABELS = torch.tensor([0, 1, 2, 0])


def parakeet(model_class: Any) -> Any:
    encoder = {**SMALL, "num_mel_bins": 16, "subsampling_conv_channels": 8}
    return model_class(model_class.config_class(vocab_size=50, encoder_config=encoder))


def dia() -> Any:
    encoder = {**SMALL, "head_dim": 16, "num_key_value_heads": 2, "vocab_size": 50}
    decoder = {**encoder, "cross_head_dim": 16, "cross_num_attention_heads": 2, "cross_num_key_value_heads": 2}
    config = tf.DiaConfig(encoder_config=encoder, decoder_config={**decoder, "cross_hidden_size": 32})
    return tf.DiaForConditionalGeneration(config)


# ---- refused by name -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: parakeet(tf.ParakeetForRNNT), "ParakeetForRNNT.*a transducer"),
        (lambda: parakeet(tf.ParakeetForTDT), "ParakeetForTDT.*a transducer"),
        (dia, "DiaForConditionalGeneration.*several codebooks"),
        (lambda: tf.BertForPreTraining(tf.BertConfig(**BERT)), "BertForPreTraining.*several heads"),
        (lambda: tf.GPT2DoubleHeadsModel(tf.GPT2Config(n_embd=16, n_layer=1, n_head=2)), "GPT2DoubleHeads.*several"),
        (
            lambda: tf.BrosSpadeELForTokenClassification(tf.BrosConfig(**{**SMALL, "hidden_size": 64})),
            "pairs of tokens",
        ),
        (lambda: tf.SegformerForSemanticSegmentation(tf.SegformerConfig()), "of pixels"),
    ],
    ids=["rnnt", "tdt", "dia", "bert", "gpt2", "bros", "segformer"],
)
def test_refused_before_anything_is_written(make: Any, words: str, tmp_path: Path) -> None:
    model = make()
    before = model.config.problem_type
    for give in (lambda: SquareLossTrainer(model, arguments(tmp_path / "run")), lambda: attach_loss(model)):
        with pytest.raises(ValueError, match=words):
            give()
    assert model.config.problem_type == before and KEY not in model.config.to_dict()
    assert not list(tmp_path.glob("**/*.json"))


def test_a_subclass_is_refused_by_the_name_it_derives_from() -> None:
    class Mine(tf.BertForQuestionAnswering):
        pass

    with pytest.raises(ValueError, match="BertForQuestionAnswering.*not supported.*begins"):
        Head.of(Mine(tf.BertConfig(**BERT)))


def test_an_encoder_decoder_that_no_table_has() -> None:
    class MineForConditionalGeneration(tf.BertPreTrainedModel):
        pass

    with pytest.raises(ValueError, match="MineForConditionalGeneration.*not known"):
        Head.of(MineForConditionalGeneration(tf.BertConfig(**BERT)))


def test_answers_have_two_places() -> None:
    with pytest.raises(ValueError, match="start_positions, end_positions and no `labels`"):
        attach_loss(tf.BertForQuestionAnswering(tf.BertConfig(**BERT)))


# ---- labels ----------------------------------------------------------------------------------------------------------
def qwen() -> Any:
    values: dict[str, Any] = {
        **SMALL,
        **{"vocab_size": 50, "head_dim": 16, "num_key_value_heads": 2, "layer_types": ["full_attention"]},
        **{
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        "pad_token_id": 0,
    }
    text = tf.Qwen3_5TextConfig(**values)
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    torch.manual_seed(0)
    return tf.Qwen3_5ForSequenceClassification(
        tf.Qwen3_5Config(text_config=text.to_dict(), vision_config=vision, num_labels=CLASSES, pad_token_id=0)
    )


@pytest.mark.parametrize("changes", [{}, {"remove_unused_columns": False}, {"label_names": ["labels"]}])
def test_labels_by_kwargs_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    """Qwen3_5ForSequenceClassification names no `labels` in its forward (transformers 5.24)."""
    model, examples = qwen(), make_examples("bert")
    loss = SquareLoss(k=2.0, M=3.0)
    args = arguments(tmp_path, max_steps=1, **changes)
    trainer = SquareLossTrainer(model, args, train_dataset=examples, eval_dataset=examples, loss=loss)
    before = model.score.weight.detach().clone()
    found = trainer.evaluate()["eval_loss"]
    prediction = trainer.predict(examples)
    expected = loss.mean(torch.from_numpy(prediction.predictions), torch.from_numpy(prediction.label_ids))
    metrics: Any = prediction.metrics
    assert found == metrics["test_loss"] and found == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.train().training_loss == pytest.approx(found, rel=1e-5)
    assert not torch.equal(model.score.weight, before)


def luke() -> Any:
    values = {**SMALL, "vocab_size": 50, "entity_vocab_size": 20, "entity_emb_size": 16, "pad_token_id": 0}
    torch.manual_seed(0)
    return tf.LukeForMaskedLM(tf.LukeConfig(**values)).eval()


def test_a_second_label_that_is_absent(tmp_path: Path) -> None:
    """`entity_labels` of LukeForMaskedLM are of scores of their own: `logits` are those of `labels`."""
    examples = make_examples("bert_masked")
    trainer = SquareLossTrainer(luke(), arguments(tmp_path), eval_dataset=examples, loss=CrossEntropy())
    own = luke()(**{name: torch.stack([e[name] for e in examples]) for name in examples[0]}).loss
    assert trainer.evaluate()["eval_loss"] == pytest.approx(own.item(), rel=1e-5)


def test_a_second_label_that_is_given_is_refused(tmp_path: Path) -> None:
    examples = [{**e, "entity_labels": torch.zeros(2, dtype=torch.long)} for e in make_examples("bert_masked")]
    trainer = SquareLossTrainer(luke(), arguments(tmp_path), eval_dataset=examples, loss="square")
    with pytest.raises(ValueError, match="entity_labels would be ignored"):
        trainer.evaluate()
    with pytest.raises(ValueError, match="entity_labels would be ignored"):
        attach_loss(luke())(**{name: torch.stack([e[name] for e in examples]) for name in examples[0]})


# ---- shapes and outputs ----------------------------------------------------------------------------------------------
def test_one_row_of_scores_in_a_dimension_of_its_own(tmp_path: Path) -> None:
    """VideoPrism's scores are (B, 1, C); its own loss flattens them."""
    torch.manual_seed(0)
    model = tf.VideoPrismForVideoClassification(tf.VideoPrismVisionConfig(**VIDEO, num_labels=3)).eval()
    videos = torch.randn(4, 2, 3, 32, 32)
    with torch.no_grad():
        own = model(pixel_values_videos=videos, labels=LABELS)
        assert own.logits.shape == (4, 1, 3) and Head.of(model).auto_class == "AutoModelForVideoClassification"
        for labels, loss in ((LABELS, CrossEntropy()), (nn.functional.one_hot(LABELS, 3).float(), CrossEntropy())):
            scores, aligned = Head.of(model).scores_and_labels(own, labels)
            torch.testing.assert_close(loss.mean(scores, aligned), own.loss)
    data: Any = [{"pixel_values_videos": v, "labels": y} for v, y in zip(videos, LABELS, strict=True)]
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=data, loss="cross_entropy")
    assert trainer.train().training_loss == pytest.approx(own.loss.item(), rel=1e-5)


def test_tokens_of_texts_of_one_token_keep_their_dimension() -> None:
    scores, labels = Head(num_classes=3).scores_and_labels({"logits": torch.zeros(4, 1, 3)}, torch.zeros(4, 1).long())
    assert scores.shape == (4, 1, 3) and labels.shape == (4, 1)


def test_multiple_choice_that_no_table_has(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tf.VisualBertConfig(**SMALL, vocab_size=50, visual_embedding_dim=16)
    model = tf.VisualBertForMultipleChoice(config).eval()
    batch = {"input_ids": torch.randint(5, 50, (2, 4, 6)), "attention_mask": torch.ones(2, 4, 6, dtype=torch.long)}
    batch["labels"] = torch.tensor([3, 1])
    own = model(**batch).loss
    assert Head.of(model) == Head(task="multiple-choice", auto_class="VisualBertForMultipleChoice")
    torch.testing.assert_close(attach_loss(model, "cross_entropy")(**batch).loss, own)


@pytest.mark.parametrize("as_dict", [True, False])
def test_outputs_without_a_field_for_the_loss(as_dict: bool) -> None:
    torch.manual_seed(0)
    config = tf.DeiTConfig(**SMALL, image_size=32, patch_size=8, num_labels=3)
    model = attach_loss(tf.DeiTForImageClassificationWithTeacher(config).eval(), SquareLoss(k=2.0, M=3.0))
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        scores = model(pixel_values=images).logits
        outputs = model(pixel_values=images, labels=LABELS, return_dict=as_dict)
    expected = SquareLoss(k=2.0, M=3.0).mean(scores, LABELS)
    torch.testing.assert_close(outputs.loss if as_dict else outputs[0], expected)
    torch.testing.assert_close(outputs.logits if as_dict else outputs[1], scores)


def test_scores_under_another_name(tmp_path: Path) -> None:
    """PPLCNet's are its last_hidden_state (transformers 5.24), and it has no loss of its own."""
    torch.manual_seed(0)
    model = tf.PPLCNetForImageClassification(tf.PPLCNetConfig(num_labels=3, hidden_dropout_prob=0.0)).eval()
    images, loss = torch.randn(4, 3, 64, 64), SquareLoss(k=2.0, M=3.0)
    with torch.no_grad():
        scores = model(pixel_values=images).last_hidden_state
        attached = attach_loss(model, "cross_entropy")(pixel_values=images, labels=LABELS)
    torch.testing.assert_close(attached.loss, nn.functional.cross_entropy(scores, LABELS))
    detach_loss(model)
    data: Any = [{"pixel_values": image, "labels": label} for image, label in zip(images, LABELS, strict=True)]
    args = arguments(tmp_path, max_steps=1, remove_unused_columns=False, gradient_accumulation_steps=2)
    trainer = SquareLossTrainer(model, args, train_dataset=data, loss=loss)
    prediction = trainer.predict(data)
    metrics: Any = prediction.metrics
    assert metrics["test_loss"] == pytest.approx(loss.mean(scores, LABELS).item(), rel=1e-5)
    torch.testing.assert_close(torch.from_numpy(prediction.predictions), scores)
    trainer.train()
    assert not torch.equal(model.eval()(pixel_values=images).last_hidden_state, scores)
    trainer.create_model_card()
    assert "probabilities(model(**inputs).last_hidden_state)" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: make_model("bert_choice"), "AutoModelForMultipleChoice"),
        (lambda: make_model("gpt2_causal"), "AutoModelForCausalLM"),
        (lambda: make_model("bert_masked"), "AutoModelForMaskedLM"),
        (lambda: make_model("t5_seq2seq"), "AutoModelForSeq2SeqLM"),
        (lambda: tf.BertForNextSentencePrediction(tf.BertConfig(**BERT)), "AutoModelForNextSentencePrediction"),
        (lambda: make_model("wav2vec2_ctc"), "AutoModelForCTC"),
    ],
)
def test_which_class_loads_it(make: Any, name: str, tmp_path: Path) -> None:
    model = make()
    assert Head.of(model).auto_class == name
    model.save_pretrained(tmp_path)
    assert type(getattr(tf, name).from_pretrained(tmp_path)) is type(model)


# ---- modules without a config ----------------------------------------------------------------------------------------
class OneScore(nn.Module):
    """Linear, with one score for each row."""

    def __init__(self, out: Any = "logits") -> None:
        super().__init__()
        self.linear, self.out = nn.Linear(3, 1), out
        with torch.no_grad():
            self.linear.weight.fill_(0.5)
            self.linear.bias.zero_()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        scores = self.linear(x)
        return {self.out: scores} if self.out else (scores,)


@pytest.mark.parametrize("shape", [(), (1,)], ids=["(B,)", "(B, 1)"])
def test_one_real_value_is_a_mean_whatever_the_batch(shape: tuple[int, ...], tmp_path: Path) -> None:
    def gradient(batch: int, accumulate: int = 1) -> Tensor:
        data: Any = [{"x": torch.tensor([1.0, 2.0, 3.0]), "labels": torch.full(shape, -1.0)}] * (batch * accumulate)
        recorder, sizes = GradientRecorder(), {"per_device_train_batch_size": batch}
        args = arguments(tmp_path, max_steps=1, gradient_accumulation_steps=accumulate, **sizes)
        SquareLossTrainer(OneScore(), args, train_dataset=data, loss="square", callbacks=[recorder]).train()
        return recorder.gradient

    model = OneScore()
    (model(torch.tensor([[1.0, 2.0, 3.0]]))["logits"] + 1.0).square().mean().backward()
    expected = flat_gradient(model)
    for batch, accumulate in ((1, 1), (8, 1), (32, 1), (4, 8)):
        torch.testing.assert_close(gradient(batch, accumulate), expected)


def test_one_real_value_for_each_of_many_is_refused() -> None:
    with pytest.raises(ValueError, match=r"labels of shape \(B,\) or \(..., 1\)"):
        Head().scores_and_labels({"logits": torch.zeros(4, 5, 1)}, torch.zeros(4, 5))


@pytest.mark.parametrize(
    ("out", "words"), [("scores", "a dict with scores"), (None, r'returned a tuple.*\{"logits": scores\}')]
)
def test_a_module_s_outputs_are_named(out: Any, words: str, tmp_path: Path) -> None:
    data: Any = [{"x": torch.ones(3), "labels": torch.tensor(1.0)}] * 2
    trainer = SquareLossTrainer(OneScore(out), arguments(tmp_path, max_steps=1), train_dataset=data, loss="square")
    with pytest.raises(ValueError, match=words):
        trainer.train()
