"""Runs of a study made up from known numbers."""

from typing import Any

import numpy as np

from hf_squareloss.comparison import RunRecord


def a_run(**changed: Any) -> RunRecord:
    """A finished run of two epochs with a test part; any field may be given another value."""
    fields: dict[str, Any] = {
        "study": "a study",
        "task": "mrpc",
        "model": "tiny-bert",
        "loss": "square",
        "label": changed.get("loss", "square"),
        "learning_rate": 3e-4,
        "seed": 0,
        "metric": "accuracy",
        "greater_is_better": True,
        "status": "finished",
        "epochs": [
            {"epoch": 1.0, "validation": {"accuracy": 0.7}, "test": {"accuracy": 0.65}},
            {"epoch": 2.0, "validation": {"accuracy": 0.8}, "test": {"accuracy": 0.75}},
        ],
        "seconds": 12.5,
    }
    return RunRecord.model_validate(fields | changed)


def runs_of(loss: str, *values: float | None, **changed: Any) -> list[RunRecord]:
    """One run of one epoch per value, the same on both parts, with the seeds 0, 1, ..."""
    measured = [{"accuracy": value} for value in values]
    epochs = [[{"epoch": 1, "validation": each, "test": each}] for each in measured]
    return [a_run(loss=loss, seed=seed, epochs=each, **changed) for seed, each in enumerate(epochs)]


RATES = (1e-4, 3e-4, 1e-3)
_EPOCHS = 4


def made_up_study(
    tasks: dict[str, float] | None = None,
    *,
    losses: dict[str, dict[str, Any]] | None = None,
    seeds: int = 5,
    model: str = "tiny-bert",
    metric: str = "accuracy",
    tested: bool = True,
    noise: float = 0.0,
    environment: dict[str, Any] | None = None,
) -> list[RunRecord]:
    """A study as the protocol has it: three learning rates on two seeds, and all seeds at the second one.

    Args:
        tasks: name -> by how many standard deviations over seeds the square losses are better than cross-entropy.
        losses: label -> parameters; the label's first word is the loss.
        seeds: number of seeds at the learning rate that is best.
        metric: "accuracy", with calibration and reliability, or "cer", which has none.
        tested: whether there is a test part.
    """
    runs = []
    for task, advantage in (tasks or {"mrpc": 1.0}).items():
        for label, parameters in (losses or {"cross_entropy": {}, "square": {}, "squentropy": {}}).items():
            for rate in RATES:
                for seed in range(seeds if rate == RATES[1] else min(seeds, 2)):
                    loss = label.split(",")[0]
                    better = 0.0 if loss == "cross_entropy" else advantage / (1 if loss == "square" else 2)
                    better += 0.3 * sum(abs(v) for v in parameters.values() if isinstance(v, int | float)) ** 0.5
                    made = _made_up(f"{task} {label} {rate} {seed}", better, rate, metric, tested)
                    fields = {"task": task, "loss": loss, "label": label, "parameters": parameters, "seed": seed}
                    fields |= {"learning_rate": rate, "metric": metric, "greater_is_better": metric == "accuracy"}
                    fields |= {"model": model, "label_noise": noise, "study": "A made-up study"}
                    fields["settings"] = {"num_train_epochs": _EPOCHS, "per_device_train_batch_size": 32}
                    fields["environment"] = environment or {"machine": "x86_64, 2 cores", "torch": "2.13.0"}
                    runs.append(a_run(**fields, **made))
    return runs


def whole_study() -> list[RunRecord]:
    """Several tasks, with what goes wrong in real ones: a diverged run, a failed one, no test part, one seed."""
    runs = made_up_study({"mrpc": 1.5, "rte": 0.2, "sst2, a task with a rather long name": -0.4, "trec-6": 2.5})
    runs += made_up_study({"trec-6": 1.0}, noise=0.4)
    runs += made_up_study({"an4": 1.2}, metric="cer", model="blstm")
    runs += made_up_study({"without a test part": 0.5}, tested=False)
    runs += made_up_study({"one seed": 0.5}, seeds=1)
    return [_gone_wrong(run) for run in runs]


def grid_study() -> list[RunRecord]:
    """One task with a grid of k and M."""
    grid: dict[str, dict[str, Any]] = {"cross_entropy": {}, "square": {}}
    grid |= {f"square, k = {k:g}, M = {m:g}": {"k": k, "M": m} for k in (1.0, 5.0, 20.0) for m in (1.0, 4.0, 16.0)}
    return made_up_study({"banking77": 0.5}, losses=grid, seeds=3)


def _gone_wrong(run: RunRecord) -> RunRecord:
    """The run, or what became of it in `whole_study`."""
    if (run.task, run.label, run.learning_rate) == ("rte", "square", RATES[1]):
        if run.seed == 3:  # never had a value
            epochs = [{"epoch": 1.0, "validation": {"accuracy": None, "nll": None}, "test": {"accuracy": None}}]
            return _changed(run, status="diverged", epochs=epochs, error="loss is nan", reliability=None)
        if run.seed == 4:  # had one, and then none
            epochs = [e.model_dump() for e in run.epochs[:2]]
            epochs[1]["validation"]["accuracy"] = None
            return _changed(run, status="diverged", epochs=epochs, error="loss is nan")
    if (run.task, run.label, run.seed, run.learning_rate) == ("mrpc", "squentropy", 4, RATES[1]):
        return _changed(run, status="failed", epochs=[], error="CUDA out of memory\n<b>not bold</b>", reliability=None)
    return run


def _changed(run: RunRecord, **changed: Any) -> RunRecord:
    return RunRecord.model_validate(run.model_dump() | changed)


def _made_up(name: str, better: float, rate: float, metric: str, tested: bool) -> dict[str, Any]:
    """Epochs, reliability, seconds and memory, the same for the same name."""
    generator = np.random.default_rng(list(name.encode()))
    quality = 0.8 + 0.01 * (better + generator.normal()) - (0.03 if rate != RATES[1] else 0.0)

    def measured(done: float, shift: float) -> dict[str, float]:
        reached = quality - 0.25 * np.exp(-2.5 * done) + 0.003 * generator.normal() + shift
        if metric == "cer":
            return {"cer": 1 - reached, "wer": 1.3 * (1 - reached)}
        error = 1 - reached
        calibration = {"ece": 0.3 * error + 0.004 * abs(generator.normal()), "brier": 1.3 * error, "nll": 2.2 * error}
        return {"accuracy": reached, "f1": 0.98 * reached, "loss": error, **calibration}

    epochs = [
        {"epoch": e, "validation": measured(e / 4, 0.0), "test": measured(e / 4, -0.02) if tested else None}
        for e in range(1, _EPOCHS + 1)
    ]
    confidence = np.linspace(0.35, 0.99, 15)
    bins = {
        "confidence": confidence.tolist(),
        "accuracy": np.clip(confidence - 0.08 + 0.03 * better + 0.03 * generator.normal(size=15), 0, 1).tolist(),
        "count": [27] * 15,
    }
    return {
        "epochs": epochs,
        "reliability": {"test" if tested else "validation": bins} if metric == "accuracy" else None,
        "seconds": 60 * (1 + 0.05 * generator.random()),
        "overhead_seconds": 0.6,
        "peak_memory_mb": 512 + 5 * generator.random(),
    }
