"""Language models train with the square loss without their scores, and nothing else about them changes."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from language_models import DECODER, SQUARE, OnScores, adapted_head, audio_examples, gpt2, gradient_of, tiny
from tiny_models import (
    BERT,
    DISTILBERT,
    LLAMA,
    VOCAB,
    WithoutScores,
    arguments,
    batch_of,
    flat_weights,
    make_examples,
    make_model,
    relative_difference,
    rounding,
    step_gradient,
)

from hf_squareloss import CrossEntropy, SquareLoss, SquareLossTrainer
from hf_squareloss.heads import FusedHead, Head

pytestmark = pytest.mark.usefixtures("always_gram", "nothing_said")
FAMILIES = ("gpt2_causal", "bert_masked", "bart_seq2seq", "t5_seq2seq")
FEATURES = {"input_feat_per_channel": 4, "conv_channels": 8}


@pytest.mark.parametrize(
    "loss",
    [SQUARE, SquareLoss(), SquareLoss(k=2.0, label_smoothing=0.1), SquareLoss(class_weights=(1.0, 3.0) * (VOCAB // 2))],
    ids=["rescaled", "auto", "smoothing", "weights"],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_on_scores(family: str, loss: SquareLoss, tmp_path: Path) -> None:
    ours, reference = (
        step_gradient(family, tmp_path, batch=8, loss=loss, trainer=trainer) for trainer in (WithoutScores, OnScores)
    )
    assert reference.norm() > 0
    assert relative_difference(ours, reference) < rounding(family)


@pytest.mark.parametrize(
    ("model_class", "config"),
    [
        (tf.LlamaForCausalLM, tf.LlamaConfig(**LLAMA)),
        (tf.LlamaForCausalLM, tf.LlamaConfig(**LLAMA, tie_word_embeddings=True)),
        (tf.DistilBertForMaskedLM, tf.DistilBertConfig(**DISTILBERT)),
        (tf.RobertaForMaskedLM, tf.RobertaConfig(**BERT)),
        (tf.WhisperForConditionalGeneration, tf.WhisperConfig(**DECODER)),
        (tf.Speech2TextForConditionalGeneration, tf.Speech2TextConfig(**DECODER, **FEATURES)),  # type: ignore[arg-type]
    ],
    ids=["llama", "llama_tied", "distilbert", "roberta", "whisper", "speech2text"],
)
def test_other_families(model_class: Any, config: Any, tmp_path: Path) -> None:
    speech = "num_mel_bins" in config.to_dict()
    examples: Any = audio_examples() if speech else make_examples("gpt2_causal")
    if model_class is tf.Speech2TextForConditionalGeneration:
        examples = [{**example, "input_features": example["input_features"].T} for example in examples]
    ours, reference = (
        gradient_of(trainer, tiny(model_class, config), examples, tmp_path) for trainer in (WithoutScores, OnScores)
    )
    assert reference.norm() > 0
    assert relative_difference(ours, reference) < 1e-5


def test_a_subclass_of_a_family_that_shifts_by_a_function(tmp_path: Path) -> None:
    class Mine(tf.WhisperForConditionalGeneration):
        pass

    config = tf.WhisperConfig(**DECODER)
    ours, reference = (
        gradient_of(trainer, tiny(Mine, config), audio_examples(), tmp_path) for trainer in (WithoutScores, OnScores)
    )
    assert relative_difference(ours, reference) < 1e-5


def test_accumulation_is_exact(tmp_path: Path) -> None:
    options: dict[str, Any] = {"loss": SQUARE, "trainer": WithoutScores}
    four = step_gradient("gpt2_causal", tmp_path, batch=2, accumulate=4, **options)
    assert relative_difference(four, step_gradient("gpt2_causal", tmp_path, batch=8, **options)) < 1e-5


def test_bfloat16(tmp_path: Path) -> None:
    ours, reference = (
        step_gradient("gpt2_causal", tmp_path, batch=8, loss=SQUARE, trainer=trainer, arguments_changes={"bf16": True})
        for trainer in (WithoutScores, OnScores)
    )
    assert relative_difference(ours, reference) < 3e-2


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo itself does (2.13)
@pytest.mark.parametrize("family", ["gpt2_causal", "bart_seq2seq"])
def test_compiled_steps(family: str, tmp_path: Path) -> None:
    """Steps after an evaluation are those of a plain run, and two steps more compile nothing more."""
    compiled = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    examples: Any = make_examples(family)

    def train(trainer_class: type[SquareLossTrainer], steps: int, **changes: Any) -> Any:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        sizes = {"per_device_train_batch_size": 8, "max_steps": steps, "eval_strategy": "steps", "eval_steps": 1}
        args = arguments(tmp_path, **sizes, learning_rate=0.01, **changes)
        model = make_model(family)
        trainer_class(model, args, train_dataset=examples, eval_dataset=examples, loss=SQUARE).train()
        return flat_weights(model), torch._dynamo.utils.counters["stats"]["unique_graphs"]

    ours, graphs = train(WithoutScores, 4, **compiled)
    reference, _ = train(OnScores, 4)
    assert relative_difference(ours, reference) < 1e-6
    assert 0 < graphs == train(WithoutScores, 2, **compiled)[1]


def test_gradient_checkpointing(tmp_path: Path) -> None:
    ours, reference = (
        step_gradient("gpt2_causal", tmp_path, batch=8, loss=SQUARE, trainer=trainer, arguments_changes=changes)
        for trainer, changes in ((WithoutScores, {"activation_checkpointing": True}), (OnScores, {}))
    )
    assert relative_difference(ours, reference) < 1e-5


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")  # PEFT: this head shares its weight
def test_adapters_on_the_head(tmp_path: Path) -> None:
    """Two of them, of which the gradients come through W + s B A."""

    def adapted() -> Any:
        model = adapted_head(r=2)
        model.add_adapter("second", type(model.peft_config["default"])(r=3, target_modules=["lm_head"]))
        model.base_model.set_adapter(["default", "second"])
        return model

    ours, reference = (
        gradient_of(trainer, adapted(), make_examples("gpt2_causal"), tmp_path) for trainer in (WithoutScores, OnScores)
    )
    assert reference.norm() > 0
    assert relative_difference(ours, reference) < 1e-5


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")  # PEFT: this head shares its weight
def test_adapters_on_the_head_of_a_model_in_bfloat16(tmp_path: Path) -> None:
    """PEFT keeps them in float32."""

    def adapted() -> Any:
        model = adapted_head(r=2)
        model.base_model.model.to(torch.bfloat16)
        for name, parameter in model.named_parameters():
            if "lora" in name:
                parameter.data = parameter.data.float()
        return model

    ours, reference = (
        gradient_of(trainer, adapted(), make_examples("gpt2_causal"), tmp_path) for trainer in (WithoutScores, OnScores)
    )
    assert reference.norm() > 0
    assert relative_difference(ours, reference) < 3e-2


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_adapters_on_the_body(tmp_path: Path) -> None:
    """The head is frozen there."""
    peft = pytest.importorskip("peft")

    def adapted() -> Any:
        torch.manual_seed(0)
        config = peft.LoraConfig(
            task_type="CAUSAL_LM", target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False
        )
        return peft.get_peft_model(make_model("gpt2_causal"), config)

    ours, reference = (
        gradient_of(trainer, adapted(), make_examples("gpt2_causal"), tmp_path) for trainer in (WithoutScores, OnScores)
    )
    assert reference.norm() > 0
    assert relative_difference(ours, reference) < 1e-5


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    model = make_model("gpt2_causal")
    before = flat_weights(model)
    args = arguments(
        tmp_path, per_device_train_batch_size=8, num_train_epochs=20, logging_strategy="epoch", learning_rate=0.01
    )
    trainer = WithoutScores(model, args, train_dataset=make_examples("gpt2_causal"), loss=SQUARE)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert not torch.equal(flat_weights(model), before)


# ---- everything else as before ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_has_scores(family: str, tmp_path: Path) -> None:
    examples: Any = make_examples(family)
    sizes = {"per_device_train_batch_size": 8, "max_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    model = make_model(family)
    trainer = WithoutScores(
        model, arguments(tmp_path, **sizes), train_dataset=examples, eval_dataset=examples, loss=SQUARE
    )
    trainer.train()
    evaluated = trainer.evaluate()["eval_loss"]
    predicted = trainer.predict(examples).predictions
    scores = predicted[0] if isinstance(predicted, tuple) else predicted
    assert scores.shape == (8, 7, VOCAB)
    head = Head.of(model)
    with torch.no_grad():
        batch = batch_of(examples)
        given = batch if head.keeps_labels else {name: value for name, value in batch.items() if name != "labels"}
        scores, labels = head.scores_and_labels(model.eval()(**given), batch["labels"])
        assert evaluated == pytest.approx(SQUARE.mean(scores, labels).item(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_untouched(family: str, tmp_path: Path) -> None:
    model = make_model(family)
    layer: Any = model.get_output_embeddings()
    before = set(layer.__dict__)
    gradient_of(WithoutScores, model, make_examples(family), tmp_path)
    assert set(layer.__dict__) == before
    assert "logits" in model(**batch_of(make_examples(family)))


@pytest.mark.parametrize("family", ["gpt2_causal", "bart_seq2seq", "t5_seq2seq"])
def test_generation_is_that_of_the_weights(family: str, tmp_path: Path) -> None:
    model, other = make_model(family), make_model(family)
    examples = make_examples(family)
    gradient_of(WithoutScores, model, examples, tmp_path)
    other.load_state_dict(model.state_dict())
    prompt = torch.stack([example["input_ids"][:4] for example in examples])
    options: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "output_scores": True}
    ours, expected = (m.eval().generate(prompt, return_dict_in_generate=True, **options) for m in (model, other))
    assert torch.equal(ours.sequences, expected.sequences)
    assert torch.equal(torch.stack(ours.scores), torch.stack(expected.scores))


def test_the_model_is_untouched_after_a_failure() -> None:
    model = make_model("gpt2_causal")
    layer = model.get_output_embeddings()
    fused = FusedHead.of(model, Head.of(model), SQUARE)
    assert isinstance(fused, FusedHead)

    def forward(**inputs: Any) -> None:
        assert "forward" in layer.__dict__
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fused.total(forward, {}, torch.zeros(1, 7, dtype=torch.long))
    assert "forward" not in layer.__dict__ and fused.is_current()


def test_other_losses_take_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FusedHead, "check", None)  # not called
    assert step_gradient("gpt2_causal", tmp_path, batch=8, loss=CrossEntropy()).norm() > 0


def test_outputs_asked_for_have_scores(tmp_path: Path) -> None:
    trainer = SquareLossTrainer(make_model("gpt2_causal").train(), arguments(tmp_path), loss=SQUARE)
    loss, outputs = trainer.compute_loss(trainer.model, batch_of(make_examples("gpt2_causal")), return_outputs=True)
    assert outputs["logits"].shape == (8, 7, VOCAB)
    assert loss.item() == pytest.approx(
        trainer.compute_loss(trainer.model, batch_of(make_examples("gpt2_causal"))).item()
    )


def test_what_failed_is_said_of_the_hidden_states(tmp_path: Path) -> None:
    model = gpt2()
    model.get_input_embeddings().weight.data[5] = float("nan")
    examples = make_examples("gpt2_causal")
    for example in examples:
        example["input_ids"] = torch.where(example["input_ids"] == 5, 6, example["input_ids"])
    examples[1]["input_ids"][0] = 5  # the first example is sound
    with pytest.raises(FloatingPointError, match="not finite"):
        gradient_of(WithoutScores, model, examples, tmp_path)


def test_a_classifier_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        step_gradient("bert", tmp_path, batch=8, loss=SQUARE)
    assert "scores" not in caplog.text
