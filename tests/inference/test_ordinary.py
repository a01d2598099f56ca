"""What others make of a model that was trained with the square loss and saved: plain pipelines, ONNX, two processes."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tiny_models import arguments, batch_of, make_examples, make_model
from tiny_tokenizer import make_tokenizer
from torch import Tensor, nn
from transformers import ViTImageProcessor, Wav2Vec2FeatureExtractor

from hf_squareloss import SquareLossTrainer

PLAIN = """
import sys

import numpy as np

sys.modules["hf_squareloss"] = None  # importing it fails
from transformers import pipeline

folder, task, file = sys.argv[1:]
given = np.load(file)["given"]
if task == "image-classification":
    from PIL import Image

    given = Image.fromarray(given)
elif given.dtype.kind == "U":
    given = str(given)
options = {} if task == "token-classification" else {"top_k": None}
found = pipeline(task, model=folder, **options)(given)
for row in found[0] if isinstance(found[0], list) else found:
    print(row.get("label", row.get("entity")), repr(float(row["score"])))
"""


def saved(family: str, folder: Path, processor: Any, **config: Any) -> Any:
    trainer: Any = SquareLossTrainer(
        make_model(family, **config),
        arguments(folder, max_steps=1, learning_rate=1e-3),
        train_dataset=make_examples(family),
        eval_dataset=make_examples(family, 16),
        processing_class=processor,
        loss="square",
    )
    if family == "vit":
        for rows in (trainer.train_dataset, trainer.eval_dataset):
            for example in rows:
                example["pixel_values"] = example["pixel_values"].repeat(3, 1, 1)
    trainer.train()
    trainer.save_model()
    return trainer


@pytest.mark.parametrize("family", ["bert", "vit", "wav2vec2", "bert_tokens"])
def test_a_plain_pipeline_without_this_package_shows_our_probabilities(family: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    if family == "vit":
        processor: Any = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        given, task = random.integers(0, 255, (8, 8, 3), dtype=np.uint8), "image-classification"
        inputs = processor(Image.fromarray(given), return_tensors="pt")
    elif family == "wav2vec2":
        processor = Wav2Vec2FeatureExtractor(sampling_rate=16000)
        given, task = random.standard_normal(300).astype(np.float32), "audio-classification"
        inputs = processor(given, sampling_rate=16000, return_tensors="pt")
    else:
        processor, given = make_tokenizer(), np.array("two four one")
        task = "token-classification" if family == "bert_tokens" else "text-classification"
        inputs = processor(str(given), return_tensors="pt")
    trainer = saved(family, tmp_path, processor, **({"num_channels": 3} if family == "vit" else {}))
    with torch.no_grad():
        scores = trainer.model.eval()(**inputs).logits[0]
    p, names = trainer.loss.probabilities(scores), trainer.model.config.id2label
    np.savez(tmp_path / "given.npz", given=given)
    command = [sys.executable, "-c", PLAIN, str(tmp_path), task, str(tmp_path / "given.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [line.split() for line in done.stdout.splitlines()]
    if family == "bert_tokens":
        values, at = p.max(-1)
        special = processor.get_special_tokens_mask(inputs["input_ids"][0], already_has_special_tokens=True)
        kept = [t for t, left_out in enumerate(special) if not left_out]
        assert [name for name, _ in shown] == [names[at[t].item()] for t in kept]
        assert [float(score) for _, score in shown] == pytest.approx(values[kept].tolist(), abs=1e-6)
    else:
        assert {name: float(score) for name, score in shown} == pytest.approx(
            {names[c]: v for c, v in enumerate(p.tolist())}, abs=1e-6
        )


def test_an_export_to_onnx_gives_our_probabilities(tmp_path: Path) -> None:
    trainer = saved("bert", tmp_path, make_tokenizer())
    batch = batch_of(make_examples("bert", 3))
    batch.pop("labels")
    with torch.no_grad():
        expected = trainer.loss.probabilities(trainer.model.eval()(**batch).logits)

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = type(trainer.model).from_pretrained(tmp_path)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13's exporter about itself
        torch.onnx.export(Scores().eval(), tuple(batch.values()), tmp_path / "m.onnx", input_names=list(batch))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (scores,) = session.run(None, {name: value.numpy() for name, value in batch.items()})
    torch.testing.assert_close(torch.as_tensor(scores).softmax(-1), expected, rtol=0, atol=1e-6)
