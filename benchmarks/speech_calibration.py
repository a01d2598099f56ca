"""CTC models by the loss's link and by its fitted T: calibration of frames, and WER with an n-gram model of letters.

    python benchmarks/speech_calibration.py outputs/square outputs/cross_entropy --train_file train.tsv \
        --validation_file validation.tsv --test_file test.tsv

Each folder holds a model of stored features that run_speech_recognition_ctc.py has trained; the lists are those it was
trained with. A frame's true class is that of the likeliest alignment of the transcript (Viterbi) by the model's own
scores, so these figures say how probabilities and alignments agree. The language model is an n-gram of letters, counted
on the training transcripts; its weight and the bonus for a letter are chosen on validation for each way alike.
"""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoModelForCTC, AutoTokenizer

import hf_squareloss.models  # noqa: F401  # registers blstm
from hf_squareloss import Loss, ctc_beam_search, load_loss
from hf_squareloss.comparison import environment
from hf_squareloss.inference import calibrate, calibration_metrics
from hf_squareloss.recipes.metrics import SpeechRecognitionMetric

RESULTS = Path(__file__).with_name("speech_calibration.json")
ORDER, SMOOTHING = 5, 0.1
WEIGHTS, BONUSES = (0.0, 0.25, 0.5, 1.0), (0.0, 1.0, 2.0)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    lists = {name: read_list(Path(getattr(args, f"{name}_file"))) for name in ("train", "validation", "test")}
    results: dict[str, Any] = {"data": args.data, "environment": environment(), "models": []}
    results["threads"] = torch.get_num_threads()
    results["utterances"] = {name: len(rows) for name, rows in lists.items()}
    for folder in args.folders:
        model, tokenizer = AutoModelForCTC.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
        blank, loss = model.config.pad_token_id, load_loss(model)
        parts = {
            name: [(scores_of(model, features), tokenizer(text).input_ids, text) for features, text in lists[name]]
            for name in ("validation", "test")
        }
        letters = Letters([tokenizer(text).input_ids for _, text in lists["train"]], model.config.vocab_size)
        loss = calibrated(loss, parts["validation"], blank)
        assert loss.calibration is not None
        undone = replace(loss, calibration=replace(loss.calibration, weights_undone=True))
        ways = {"link": replace(loss, calibration=None), "T": loss} | (
            {"T, undone": undone} if loss.class_weights else {}
        )
        row: dict[str, Any] = {"loss": loss.name, "T": loss.calibration.T, "seed": args.seeds.get(folder), "ways": {}}
        aligned = [align(loss.probabilities(scores).log(), labels, blank) for scores, labels, _ in parts["test"]]
        for way, one in ways.items():
            p = torch.cat([one.probabilities(scores) for scores, _, _ in parts["test"]])
            found = {"frames": calibration_metrics(p, torch.cat(aligned))}
            found |= {"beam": errors(parts["test"], one, tokenizer, blank)}
            few = parts["validation"][: args.validation_utterances]
            tried = {
                (weight, bonus): errors(few, one, tokenizer, blank, letters.weighted(weight, bonus))["wer"]
                for weight in tqdm(WEIGHTS, desc=f"{folder} {way}")
                for bonus in BONUSES
            }
            weight, bonus = min(tried, key=lambda pair: tried[pair])
            found |= {"weight": weight, "bonus": bonus}
            found["language model"] = errors(parts["test"], one, tokenizer, blank, letters.weighted(weight, bonus))
            row["ways"][way] = found
        results["models"].append(row)
        args.output.write_text(json.dumps(results, indent=1) + "\n")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="models; FOLDER or FOLDER=SEED")
    for name in ("train", "validation", "test"):
        parser.add_argument(f"--{name}_file", required=True, help="tab-separated, with audio and text")
    parser.add_argument("--data", default="AN4", help="name of the data in tables")
    parser.add_argument("--validation_utterances", type=int, default=60, help="that choose the language model's weight")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    pairs = [folder.partition("=") for folder in args.folders]
    args.folders, args.seeds = [p[0] for p in pairs], {p[0]: int(p[2]) for p in pairs if p[2]}
    return args


def read_list(path: Path) -> list[tuple[Tensor, str]]:
    """Stored features (frames, dims) and the transcript of each line."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf8").splitlines()[1:]]
    return [(torch.as_tensor(np.load(path.parent / audio)), text) for audio, text in rows]


@torch.no_grad()
def scores_of(model: Any, features: Tensor) -> Tensor:
    """(frames, C) raw scores of one utterance."""
    mask = torch.ones(1, len(features), dtype=torch.long)
    return model(input_features=features[None], attention_mask=mask).logits[0].float()


def calibrated(loss: Loss, part: Any, blank: int) -> Loss:
    """T by the validation utterances."""
    frames = torch.tensor([len(scores) for scores, _, _ in part])
    scores = pad_sequence([scores for scores, _, _ in part], batch_first=True)
    labels = pad_sequence([torch.tensor(labels) for _, labels, _ in part], batch_first=True, padding_value=-100)
    return calibrate(replace(loss, calibration=None), scores, labels, frames=frames, blank=blank)


def align(log_p: Tensor, labels: list[int], blank: int) -> Tensor:
    """(T,) the class of each frame on the likeliest path that means the labels (Viterbi)."""
    states = [blank, *(c for label in labels for c in (label, blank))]
    emitted = log_p[:, states].numpy()
    value = np.full(len(states), -np.inf)
    value[:2] = emitted[0, :2]
    came = []
    skips = np.array([i > 1 and s != blank and s != states[i - 2] for i, s in enumerate(states)])
    for frame in emitted[1:]:
        stay, step = value, np.concatenate([[-np.inf], value[:-1]])
        skip = np.where(skips, np.concatenate([[-np.inf, -np.inf], value[:-2]]), -np.inf)
        ways = np.stack([stay, step, skip])
        came.append(ways.argmax(0))
        value = ways.max(0) + frame
    at = len(states) - 1 if value[-1] >= value[-2] else len(states) - 2
    path = [at]
    for back in reversed(came):
        at -= int(back[at])
        path.append(at)
    return torch.tensor([states[i] for i in reversed(path)])


class Letters:
    """An n-gram model of labels with additive smoothing, backed off to shorter contexts that were seen."""

    def __init__(self, texts: list[list[int]], num_classes: int) -> None:
        self._num_classes = num_classes
        self._counts: dict[tuple[int, ...], Counter[int]] = {}
        for labels in texts:
            for i, label in enumerate(labels):
                for length in range(min(i, ORDER - 1) + 1):
                    self._counts.setdefault(tuple(labels[i - length : i]), Counter())[label] += 1

    def log_p(self, prefix: tuple[int, ...]) -> np.ndarray:
        """(C,) of the next label."""
        context = prefix[-(ORDER - 1) :]
        while context and context not in self._counts:
            context = context[1:]
        counts = self._counts[context]
        values = np.full(self._num_classes, SMOOTHING)
        for label, count in counts.items():
            values[label] += count
        return np.log(values / values.sum())

    def weighted(self, weight: float, bonus: float) -> Any:
        """What `ctc_beam_search` adds for each next label."""
        return lambda prefix: weight * self.log_p(prefix) + bonus


def errors(part: Any, loss: Loss, tokenizer: Any, blank: int, language_model: Any = None) -> dict[str, float]:
    """WER and CER of the best transcript of a beam search."""
    found = []
    for scores, _, _ in part:
        (best, *_), *_ = ctc_beam_search(
            scores[None],
            torch.tensor([len(scores)]),
            loss=loss,
            blank=blank,
            beam_size=8,
            language_model=language_model,
        )
        found.append(tokenizer.decode(list(best.labels), group_tokens=False))
    metric = SpeechRecognitionMetric(["wer", "cer"])
    return dict(metric.compute(predictions=found, references=[text for _, _, text in part]) or {})


if __name__ == "__main__":
    main()
