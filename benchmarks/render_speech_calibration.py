"""The table of frames and transcripts in docs/probabilities.md, from benchmarks/speech_calibration.json."""

from statistics import mean
from typing import Any

from render_benchmarks import where

from hf_squareloss.comparison import markdown_table

Results = dict[str, Any]
_HEADER = (
    "loss",
    "probabilities",
    "frames: ECE",
    "Brier",
    "NLL",
    "WER, beams alone",
    "WER, n-gram model",
    "weight",
)


def speech_section(results: Results) -> str:
    """A row for each loss and way from scores to probabilities, the mean over the seeds."""
    rows = []
    for loss in dict.fromkeys(model["loss"] for model in results["models"]):
        models = [model for model in results["models"] if model["loss"] == loss]
        T = _range([model["T"] for model in models])
        titles = {"link": "the link", "T": f"softmax(T f), T = {T}", "T, undone": "the same, the blank's weight undone"}
        for way, title in titles.items():
            found = [model["ways"][way] for model in models if way in model["ways"]]
            if not found:
                continue
            frames = [f"{mean(one['frames'][name] for one in found):.3f}" for name in ("ece", "brier", "nll")]
            rates = [f"{mean(one[kind]['wer'] for one in found):.3f}" for kind in ("beam", "language model")]
            rows.append([loss, title, *frames, *rates, _range([one["weight"] for one in found])])
    counts = results["utterances"]
    note = (
        f"{results['data']}, BLSTM, {len(results['models'])} models, {counts['test']} test utterances; beams of 8; an "
        f"n-gram model of letters, counted on {counts['train']} training transcripts, its weight and bonus chosen on "
        f"validation. A frame's true class is that of the likeliest alignment. {where(results)}."
    )
    return f"{markdown_table(list(_HEADER), rows)}\n\n{note}"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low}–{high}"
