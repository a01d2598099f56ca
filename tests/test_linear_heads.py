"""Language models train with the square loss without their scores, and nothing else about them changes."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_models import (
    BART,
    BERT,
    DISTILBERT,
    GPT2,
    LLAMA,
    VOCAB,
    GradientRecorder,
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
from torch import Tensor, nn

from hf_squareloss import CrossEntropy, LossSelectionMixin, SquareLoss, SquareLossTrainer
from hf_squareloss.heads import Head
from hf_squareloss.linear_heads import LinearHead, NotLinear

SQUARE = SquareLoss(k=2.0, M=3.0)
FAMILIES = ("gpt2_causal", "bert_masked", "bart_seq2seq", "t5_seq2seq")
DECODER = {
    **{"vocab_size": VOCAB, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 4},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    **{"max_source_positions": 20, "max_target_positions": 20, "suppress_tokens": None, "begin_suppress_tokens": None},
}
ESM = {"pad_token_id": 0, "mask_token_id": 1, "token_dropout": False}
FEATURES = {"input_feat_per_channel": 4, "conv_channels": 8}
GEMMA = {**LLAMA, "head_dim": 8, "final_logit_softcapping": 5.0, "attn_logit_softcapping": None}


@pytest.fixture(autouse=True)
def always_gram(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models are faster by scores."""
    monkeypatch.setattr("hf_squareloss.losses._square.gram_pays", lambda *_: True)


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    """What another test was warned of is said again."""
    tf.utils.logging.warning_once.cache_clear()  # type: ignore[attr-defined]


class OnScores(SquareLossTrainer):
    """The plain path."""

    def _linear_head_for(self, *args: Any) -> None:
        return None


def gradient_of(trainer: type[tf.Trainer], model: Any, examples: Any, folder: Path, **changes: Any) -> Tensor:
    recorder = GradientRecorder()
    sizes = {"per_device_train_batch_size": 8, "max_steps": 1}
    options: dict[str, Any] = {"loss": changes.pop("loss", SQUARE), "callbacks": [recorder]}
    trainer(model, arguments(folder, **sizes, **changes), train_dataset=examples, **options).train()
    return recorder.gradient


def audio_examples() -> list[dict[str, Tensor]]:
    random = torch.Generator().manual_seed(0)
    labels = [example["labels"] for example in make_examples("bart_seq2seq")]
    return [{"input_features": torch.randn(4, 40, generator=random), "labels": label} for label in labels]


def tiny(model_class: Any, config: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    return model_class(type(config)(**{**config.to_dict(), **changes})).eval()


# ---- the same gradients ----------------------------------------------------------------------------------------------
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
        (tf.Speech2TextForConditionalGeneration, tf.Speech2TextConfig(**DECODER, **FEATURES)),
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


def adapted_head(**options: Any) -> Any:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["lm_head"], init_lora_weights=False, **options)
    torch.manual_seed(0)
    return peft.get_peft_model(make_model("gpt2_causal"), config)


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
    head = LinearHead(model, Head.of(model), SQUARE)
    with pytest.raises(RuntimeError, match="stop"), head.computing(torch.zeros(1, 7, dtype=torch.long)):
        assert "forward" in layer.__dict__
        raise RuntimeError("stop")
    assert "forward" not in layer.__dict__ and head.values is None


def test_other_losses_take_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LinearHead, "check", None)  # not called
    assert step_gradient("gpt2_causal", tmp_path, batch=8, loss=CrossEntropy()).norm() > 0


def test_outputs_asked_for_have_scores(tmp_path: Path) -> None:
    trainer = SquareLossTrainer(make_model("gpt2_causal").train(), arguments(tmp_path), loss=SQUARE)
    loss, outputs = trainer.compute_loss(trainer.model, batch_of(make_examples("gpt2_causal")), return_outputs=True)
    assert outputs["logits"].shape == (8, 7, VOCAB)
    assert loss.item() == pytest.approx(
        trainer.compute_loss(trainer.model, batch_of(make_examples("gpt2_causal"))).item()
    )


# ---- where it cannot apply -------------------------------------------------------------------------------------------
class Doubled(tf.GPT2LMHeadModel):
    """Scores that are not those of its output layer."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = 2.0 * outputs.logits
        return outputs


class Changed(tf.GPT2LMHeadModel):
    """Scores that are changed where they lie, and where a change of large positive ones alone would show nothing."""

    change: Any = staticmethod(lambda scores: scores.mul_(2.0))

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = self.change(outputs.logits)
        return outputs


class Clamped(Changed):
    change = staticmethod(lambda scores: scores.clamp_min(0.0))


class Scaled(tf.GPT2LMHeadModel):
    """Scores that training alone will change."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = self.scale * outputs.logits
        return outputs


class Viewed(tf.GPT2LMHeadModel):
    """Cannot do with the scores of one token."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = outputs.logits.view(*input_ids.shape, -1)
        return outputs


class Shorter(tf.GPT2LMHeadModel):
    """An output layer that sees other items than the labels."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        self.lm_head(torch.zeros(2, 3, self.config.n_embd))
        return outputs


def gpt2(model_class: type[tf.GPT2LMHeadModel] = tf.GPT2LMHeadModel) -> Any:
    return tiny(model_class, tf.GPT2Config(**GPT2))


def with_another_head(head: nn.Module) -> Any:
    model = gpt2()
    model.lm_head = head
    return model


def zero_at_first() -> Any:
    """Soft-capped scores that cannot be told from others while they are zero."""
    model = tiny(tf.Gemma2ForCausalLM, tf.Gemma2Config(**{**GEMMA, "tie_word_embeddings": False}))
    nn.init.zeros_(model.lm_head.weight)
    return model


def hooked() -> Any:
    model = gpt2()
    model.lm_head.register_forward_hook(lambda module, args, output: output + 1.0)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: tiny(tf.Gemma2ForCausalLM, tf.Gemma2Config(**GEMMA)), "soft-capping"),
        (zero_at_first, "soft-capping"),
        (lambda: tiny(tf.CohereForCausalLM, tf.CohereConfig(**LLAMA, logit_scale=0.5)), "soft-capping, scaling"),
        (lambda: gpt2(Doubled), "scaling"),
        (lambda: gpt2(Changed), "scaling"),
        (lambda: gpt2(Clamped), "scaling"),
        (lambda: gpt2(Scaled), "parameters that are trained"),
        (lambda: tiny(tf.EsmForMaskedLM, tf.EsmConfig(**BERT, **ESM)), "parameters that are trained"),
        (lambda: gpt2(Viewed), "fails when it gets the scores of one token alone"),
        (lambda: gpt2(Shorter), "does not call its output layer once"),
        (lambda: with_another_head(nn.Sequential(nn.Linear(16, VOCAB))), "container.Sequential"),
        (hooked, "hooks"),
        (lambda: adapted_head(lora_dropout=0.5), "output layer is a peft"),
        (lambda: adapted_head(use_dora=True), "output layer is a peft"),
        (lambda: adapted_head(lora_bias=True), "output layer is a peft"),
    ],
    ids=[
        "gemma2",
        "zero",
        "cohere",
        "doubled",
        "in_place",
        "clamped",
        "scaled",
        "esm",
        "viewed",
        "twice",
        "sequential",
        "hooks",
        "dropout",
        "dora",
        "adapter_bias",
    ],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")  # PEFT: this head shares its weight
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but")  # PEFT: one that cannot be merged
def test_the_plain_path_runs_and_says_so_once(
    make: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, make(), make_examples("gpt2_causal"), tmp_path / "ours")
        gradient_of(SquareLossTrainer, make(), make_examples("gpt2_causal"), tmp_path / "again")
    said = [record.getMessage() for record in caplog.records if "builds the scores" in record.getMessage()]
    assert len(said) == 1 and reason in said[0]
    reference = gradient_of(OnScores, make(), make_examples("gpt2_causal"), tmp_path / "reference")
    assert reference.norm() > 0
    assert torch.equal(ours, reference)


class TwiceLater(tf.GPT2LMHeadModel):
    """Calls its output layer twice from the third forward on; the first is the one that is looked at."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        self.forwards = getattr(self, "forwards", 0) + 1
        if self.forwards > 2:
            self.lm_head(torch.zeros(1, 1, self.config.n_embd))
        return outputs


class HalvedInTraining(Changed):
    """Which the look at the model, in evaluation, does not see."""

    @property
    def change(self) -> Any:  # type: ignore[override]
        return lambda scores: 0.5 * scores if self.training else scores


class HalvedInPlaceInTraining(Changed):
    @property
    def change(self) -> Any:  # type: ignore[override]
        return lambda scores: scores.mul_(0.5) if self.training else scores


class AfterAStep(tf.TrainerCallback):
    def __init__(self, change: Any) -> None:
        self.change = change

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.change(kwargs["model"])


def hook_later(model: Any) -> None:
    model.lm_head.register_forward_hook(lambda module, args, output: 2.0 * output)


def disable_adapters_later(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def merge_later(model: Any) -> None:
    model.merge_adapter()


def with_a_frozen_scale() -> Any:
    model = gpt2(Scaled)
    model.scale.requires_grad_(False)
    return model


def unfreeze_later(model: Any) -> None:
    model.requires_grad_(True)


@pytest.mark.parametrize(
    ("make", "change", "reason"),
    [
        (lambda: gpt2(TwiceLater), None, "does not always call its output layer once"),
        (lambda: gpt2(HalvedInTraining), None, "does not always hand on"),
        (lambda: gpt2(HalvedInPlaceInTraining), None, "does not always hand on"),
        (gpt2, hook_later, "hooks"),
        (with_a_frozen_scale, unfreeze_later, "parameters that are trained"),
        (lambda: adapted_head(r=2).requires_grad_(True), disable_adapters_later, "output layer is a peft"),
        (lambda: adapted_head(r=2).requires_grad_(True), merge_later, "output layer is a peft"),
    ],
    ids=["twice", "training", "in_place", "hook", "unfrozen", "disabled", "merged"],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")  # PEFT: this head shares its weight
def test_what_changes_later_is_seen(
    make: Any, change: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def weights(trainer: type[SquareLossTrainer]) -> Tensor:
        model = make()
        sizes = {"per_device_train_batch_size": 8, "max_steps": 3, "learning_rate": 0.01}
        callbacks = [AfterAStep(change)] if change else []
        examples: Any = make_examples("gpt2_causal")
        args = arguments(tmp_path, **sizes)
        trainer(model, args, train_dataset=examples, loss=SQUARE, callbacks=callbacks).train()
        return flat_weights(model)

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = weights(SquareLossTrainer)
    assert reason in caplog.text
    assert relative_difference(ours, weights(OnScores)) < 1e-6


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


def test_float16_on_an_accelerator(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr("hf_squareloss.linear_heads.in_float16_on_accelerator", lambda hidden: True)
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        gradient_of(SquareLossTrainer, gpt2(), make_examples("gpt2_causal"), tmp_path)
    assert "in float16 on an accelerator" in caplog.text


def test_outputs_without_names_are_refused(tmp_path: Path) -> None:
    class Tuples(tf.GPT2LMHeadModel):
        def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
            return super().forward(input_ids, attention_mask=attention_mask, **kwargs).to_tuple()

    with pytest.raises(ValueError, match="return_dict"):
        gradient_of(SquareLossTrainer, gpt2(Tuples), make_examples("gpt2_causal"), tmp_path)


def test_a_model_with_a_bias_after_its_layer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        model = tiny(tf.BartForConditionalGeneration, tf.BartConfig(**BART))
        model.final_logits_bias.fill_(0.5)
        return model

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, make(), make_examples("bart_seq2seq"), tmp_path)
    assert "or a bias" in caplog.text
    assert torch.equal(ours, gradient_of(OnScores, make(), make_examples("bart_seq2seq"), tmp_path))


def test_a_subclass_of_a_family_that_shifts_by_a_function(tmp_path: Path) -> None:
    class Mine(tf.WhisperForConditionalGeneration):
        pass

    config = tf.WhisperConfig(**DECODER)
    ours, reference = (
        gradient_of(trainer, tiny(Mine, config), audio_examples(), tmp_path) for trainer in (WithoutScores, OnScores)
    )
    assert relative_difference(ours, reference) < 1e-5


def test_an_encoder_decoder_that_shifts_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Inside(tf.T5ForConditionalGeneration):
        prepare_decoder_input_ids_from_labels = property()  # type: ignore[assignment]

    examples: Any = make_examples("t5_seq2seq")
    config = make_model("t5_seq2seq").config
    model, plain = tiny(Inside, config), tiny(tf.T5ForConditionalGeneration, config)
    plain.load_state_dict(model.state_dict())
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, model, examples, tmp_path)
    assert "inside its forward" in caplog.text
    assert torch.equal(ours, gradient_of(OnScores, plain, examples, tmp_path))


@pytest.mark.filterwarnings("ignore:Version v4.12.0:FutureWarning")  # of every EncoderDecoderModel with labels
def test_a_decoder_that_is_masked_by_the_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        parts = tf.BertConfig(**BERT), tf.BertConfig(**BERT, is_decoder=True, add_cross_attention=True)
        config = tf.EncoderDecoderConfig.from_encoder_decoder_configs(*parts)
        config.pad_token_id, config.decoder_start_token_id, config.vocab_size = 0, 1, VOCAB
        torch.manual_seed(0)
        return tf.EncoderDecoderModel(config)

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, make(), make_examples("bart_seq2seq"), tmp_path)
    reference = gradient_of(OnScores, make(), make_examples("bart_seq2seq"), tmp_path)
    assert reference.norm() > 0 and torch.equal(ours, reference)
    assert "masks its decoder" in caplog.text


def test_a_trainer_that_looks_at_the_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    class Looking(tf.Trainer):
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, True, kwargs.get("num_items_in_batch"))
            seen.append(outputs["logits"].shape)
            return loss

    class Ours(LossSelectionMixin, Looking):
        pass

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(Ours, gpt2(), make_examples("gpt2_causal"), tmp_path)
    assert seen == [(8, 7, VOCAB)] and "own compute_loss" in caplog.text
    assert torch.equal(ours, gradient_of(OnScores, gpt2(), make_examples("gpt2_causal"), tmp_path))


def test_a_static_graph_keeps_the_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        gradient_of(SquareLossTrainer, gpt2(), make_examples("gpt2_causal"), tmp_path, ddp_static_graph=True)
    assert "ddp_static_graph" in caplog.text


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_prompt_tuning_is_refused() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(gpt2(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(NotLinear, match="prompt and prefix tuning"):
        LinearHead(model, Head.of(model), SQUARE)


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


def test_sharded_weights_are_refused() -> None:
    model = gpt2()
    model.lm_head.weight = nn.Parameter(torch.empty(0))
    with pytest.raises(NotLinear, match="sharded"):
        LinearHead(model, Head.of(model), SQUARE)
