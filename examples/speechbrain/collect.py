"""Gather the recipe's runs over losses and seeds into one results.json, for a model card.

    python examples/speechbrain/collect.py --title "AN4, SpeechBrain" --output model_cards/an4/results.json \
        results/*/results.json

The runs must have one learning rate per loss and agree in all but loss and seed.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

OWN_TO_A_RUN = ("loss", "seed", "lr", "seq_scale", "output_folder")


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--title", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("runs", type=Path, nargs="+", help="the results.json of every run")
    args = parser.parse_args(argv)
    results = collected(args.title, [json.loads(path.read_text(encoding="utf8")) for path in args.runs])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf8")
    return results


def collected(title: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Runs in the order of losses and seeds; ValueError where they cannot be compared."""
    for run in found:
        if run["environment"] != found[0]["environment"]:
            raise ValueError(f"runs of different environments: {run['environment']}, {found[0]['environment']}")
        if run["test"] is None:
            raise ValueError(f"a run is not finished: {' '.join(run['command'])}")
        if shared_settings(run) != shared_settings(found[0]):
            raise ValueError(f"{shared_settings(run)} are not the settings of {shared_settings(found[0])}")
    runs = sorted((entry(run) for run in found), key=lambda run: (run["loss"], run["seed"]))
    for before, run in pairwise(runs):
        if (before["loss"], before["seed"]) == (run["loss"], run["seed"]):
            raise ValueError(f"two runs of {run['loss']} have seed {run['seed']}")
    chosen: dict[str, float] = {}
    for run in runs:
        if chosen.setdefault(run["loss"], run["learning_rate"]) != run["learning_rate"]:
            raise ValueError(f"there are two learning rates of {run['loss']}: give the runs of one")
    return {
        "title": title,
        "script": "speechbrain/train.py",
        "metric": "cer",
        "learning_rates": sorted(set(chosen.values())),
        "arguments": shared_arguments(found[0]),
        "environment": found[0]["environment"],
        "chosen": chosen,
        "runs": runs,
    }


def entry(run: dict[str, Any]) -> dict[str, Any]:
    """One run; error rates as fractions. Validation is that of the epoch that was chosen by it."""
    settings, test = run["settings"], run["test"]
    chosen = next(epoch for epoch in run["epochs"] if epoch["epoch"] == test["epoch"])
    return {
        "loss": settings["loss"]["loss"],
        "learning_rate": settings["lr"],
        "seed": settings["seed"],
        "seconds": sum(epoch["train_seconds"] for epoch in run["epochs"]),
        "validation": error_rates(chosen["valid"]),
        "test": error_rates(test),
    }


def error_rates(stats: dict[str, float]) -> dict[str, float]:
    return {"cer": stats["CER"] / 100.0, "wer": stats["WER"] / 100.0, "loss": stats["loss"]}


def shared_settings(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run["settings"].items() if name not in OWN_TO_A_RUN}


def shared_arguments(run: dict[str, Any]) -> list[str]:
    """The options of the command line that are not a run's own, folders by their name."""
    shared: list[str] = []
    words = [part for word in run["command"][2:] for part in word.split("=", 1)]
    own = False
    for word in words:
        own = word.removeprefix("--") in OWN_TO_A_RUN if word.startswith("--") else own
        if not own:
            shared.append(Path(word).name)
    return shared


if __name__ == "__main__":
    main()
