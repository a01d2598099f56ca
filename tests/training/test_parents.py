"""The mixin before other people's trainers: it trains with the loss that it writes, or says why it cannot."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_models import GradientRecorder, arguments, flat_weights, make_examples, make_model
from torch import Tensor, nn

from hf_squareloss import CrossEntropy, LossSelectionMixin, SquareLoss, SquareLossTrainer, Squentropy, load_loss

pytestmark = pytest.mark.usefixtures("nothing_said")
SQUARE = SquareLoss(k=2.0, M=3.0)


def weighted(owner: Any) -> Any:
    """The class-weights recipe of every forum."""

    def compute_loss(self: Any, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = nn.functional.cross_entropy(outputs.logits, labels, weight=torch.tensor([1.0, 2.0, 3.0, 4.0]))
        return (loss, outputs) if return_outputs else loss

    return type("Weighted", (owner,), {"compute_loss": compute_loss})


# ---- a user's own ----------------------------------------------------------------------------------------------------
def test_a_parent_with_a_loss_of_its_own_is_refused(tmp_path: Path) -> None:
    ours: Any = type("Ours", (LossSelectionMixin, weighted(tf.Trainer)), {})
    model = make_model("bert")
    with pytest.raises(ValueError, match=r"Weighted.compute_loss computes a loss of its own.*Class weights"):
        ours(model, arguments(tmp_path), loss="square")
    assert "hf_squareloss" not in model.config.to_dict()


def test_a_child_with_a_loss_of_its_own_is_refused_before_it_steps(tmp_path: Path) -> None:
    model = make_model("bert")
    before = flat_weights(model).clone()
    trainer = weighted(SquareLossTrainer)(
        model, arguments(tmp_path, max_steps=1), train_dataset=make_examples("bert"), loss="square"
    )
    with pytest.raises(ValueError, match="does not call super"):
        trainer.train()
    assert torch.equal(flat_weights(model), before)


def test_a_child_may_add_to_the_loss(tmp_path: Path) -> None:
    class Decayed(SquareLossTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, **options) -> Any:  # type: ignore[override]
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
            loss = loss + 0.5 * model.classifier.weight.square().sum()
            return (loss, outputs) if return_outputs else loss

    def gradient(trainer_class: Any) -> Tensor:
        recorder, model = GradientRecorder(), make_model("bert")
        args = arguments(tmp_path, max_steps=1)
        trainer_class(model, args, train_dataset=make_examples("bert"), loss=SQUARE, callbacks=[recorder]).train()
        return recorder.gradient

    start = make_model("bert")
    weight: Any = dict(start.named_parameters())["classifier.weight"]
    difference = gradient(Decayed) - gradient(SquareLossTrainer)
    assert difference.norm().item() == pytest.approx(weight.norm().item(), rel=1e-4)


def test_a_parent_with_a_prediction_step_of_its_own(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Watching(tf.Trainer):
        def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(len(inputs["labels"]))
            return super().prediction_step(model, inputs, *args, **kwargs)

    class Ours(LossSelectionMixin, Watching):
        pass

    examples: Any = make_examples("bert")
    found = Ours(make_model("bert"), arguments(tmp_path), eval_dataset=examples, loss=SQUARE).evaluate()
    expected = SquareLossTrainer(make_model("bert"), arguments(tmp_path), eval_dataset=examples, loss=SQUARE).evaluate()
    assert seen == [8] and found["eval_loss"] == expected["eval_loss"]


def test_fixed_signatures_and_eight_positional_arguments(tmp_path: Path) -> None:
    class Fixed(tf.Trainer):
        def __init__(self, model: Any, args: Any, examples: Any) -> None:
            super().__init__(model, args, train_dataset=examples)

    class Ours(LossSelectionMixin, Fixed):
        pass

    examples: Any = make_examples("bert")
    args = arguments(tmp_path, max_steps=1)
    Ours(make_model("bert"), args, examples, loss="square").train()
    collator = tf.default_data_collator
    trainer = SquareLossTrainer(make_model("bert"), args, collator, examples, examples, None, None, None, loss="square")
    assert trainer.eval_dataset is examples and trainer.compute_loss_func is None
    with pytest.raises(ValueError, match="compute_loss_func would be ignored"):
        SquareLossTrainer(make_model("bert"), args, collator, examples, None, None, None, lambda *_: 0.0, loss="square")


def test_the_mixin_needs_a_trainer_behind_it() -> None:
    class Own:  # as setfit.Trainer, which is none of transformers
        def __init__(self, model: Any = None) -> None:
            self.model = model

    class Ours(LossSelectionMixin, Own):  # type: ignore[misc]
        pass

    with pytest.raises(ValueError, match="must stand before a Trainer of transformers.*Own"):
        Ours(loss="square")


@pytest.mark.parametrize("name", ["target", "labels"])
def test_one_other_name_for_labels(name: str, tmp_path: Path) -> None:
    class Named(tf.BertForSequenceClassification):
        def forward(self, input_ids: Any = None, attention_mask: Any = None, target: Any = None, **_: Any) -> Any:  # type: ignore[override]
            return super().forward(input_ids, attention_mask=attention_mask)

    def gradient(model: Any, key: str, **changes: Any) -> tuple[Tensor, float]:
        examples: Any = [
            {**{k: v for k, v in e.items() if k != "labels"}, key: e["labels"]} for e in make_examples("bert")
        ]
        recorder, args = GradientRecorder(), arguments(tmp_path, max_steps=1, **changes)
        trainer = SquareLossTrainer(
            model, args, train_dataset=examples, eval_dataset=examples, loss=SQUARE, callbacks=[recorder]
        )
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        return recorder.gradient, before

    model = make_model("bert")
    if name == "target":
        model.__class__ = Named
    ours, loss = gradient(model, name, label_names=[name])
    reference, expected = gradient(make_model("bert"), "labels")
    assert torch.equal(ours, reference) and loss == expected


def test_several_labels_are_refused(tmp_path: Path) -> None:
    config = make_model("bert").config
    with pytest.raises(ValueError, match="one label for each score.*start_positions, end_positions"):
        SquareLossTrainer(tf.BertForQuestionAnswering(config), arguments(tmp_path), loss="square")


# ---- evaluation alone ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("requested", [None, "square"])
def test_evaluation_keeps_the_model_s_loss(
    requested: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples: Any = make_examples("bert")
    model = make_model("bert")
    SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=examples, loss="cross_entropy").train()
    config = model.config.to_dict()
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        trainer = SquareLossTrainer(model, arguments(tmp_path / "again"), eval_dataset=examples, loss=requested)
        found = trainer.evaluate()["eval_loss"]
    assert trainer.loss == CrossEntropy() and model.config.to_dict() == config
    assert ("until it is trained" in caplog.text) == (requested is not None)
    with torch.no_grad():
        scores = torch.from_numpy(trainer.predict(examples).predictions)
    assert found == pytest.approx(
        CrossEntropy().mean(scores, torch.stack([e["labels"] for e in examples])).item(), rel=1e-5
    )
    trainer.save_model(str(tmp_path / "kept"))
    assert load_loss(tmp_path / "kept") == CrossEntropy()


def test_training_takes_the_loss_that_is_asked_for(tmp_path: Path) -> None:
    examples: Any = make_examples("bert")
    model = make_model("bert")
    SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=examples, loss="cross_entropy").train()
    trainer = SquareLossTrainer(
        model, arguments(tmp_path / "b", max_steps=1), train_dataset=examples, loss="squentropy"
    )
    assert trainer.loss == CrossEntropy()
    trainer.train()
    assert trainer.loss == load_loss(model) == Squentropy()


def test_a_model_without_a_loss_is_not_given_one_by_evaluation(tmp_path: Path) -> None:
    model, examples = make_model("bert"), make_examples("bert")
    SquareLossTrainer(model, arguments(tmp_path), eval_dataset=examples, loss="square").evaluate()
    assert "hf_squareloss" not in model.config.to_dict() and model.config.problem_type is None
