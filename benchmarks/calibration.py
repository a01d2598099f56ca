"""Which probabilities are right? Every way from scores to probabilities, on the scores that runs of the scripts left.

    python benchmarks/recorded_scores.py run_glue.py ... --output_dir outputs/TASK/square-seed0   # and so on
    python benchmarks/calibration.py outputs/*/*

A folder TASK/RUN holds scores/validation.npz, test.npz and train.npz, as benchmarks/recorded_scores.py writes them. All
that a candidate fits is fitted on the validation part, and the test part is looked at once; a candidate that needs no
validation part has one constant for all tasks, taken from the other tasks alone (leave one out). f are scores, p
probabilities, k and M those of the square loss (M = 1 elsewhere):

    link        of the loss: the inverse of its population minimiser (softmax for cross-entropy and squentropy)
    projection  that inverse, continued beyond [0, M] with its slopes there, projected onto the simplex, and mixed with
                a fitted share of the uniform distribution
    T           softmax(T f), T of the least negative log-likelihood (Guo et al. 2017)
    T, uniform  the same, mixed with a fitted share of the uniform distribution
    vector      softmax(a * f + b), a and b (C,) fitted alike
    isotonic    one isotonic regression per class on its scores, normalised (Zadrozny & Elkan 2002)
    slope       softmax(c f / M), c = C (1 + (k - 1) / C)^2 / k: nothing is fitted; it agrees with the link to first
                order where all classes are equally probable
    sure        the same with c of at least 2 log C, so that exact scores M e_y mean p_y of about 1 - 1 / C at least
    fixed       softmax(c f / M)
    power       softmax(c C^a f / M)
    residuals   softmax(c M / s^2 f / M), s^2 the mean square of M e_y - f on training rows: the posterior where scores
                are normal around their targets M e_y with variance s^2 and classes are equally frequent
    training    softmax(c T' f), T' fitted as T on training rows
    both        softmax(c sqrt(T' T'') f), T'' that of slope

Where RUN/checkpoint-N/scores are there as well, it also says how optimistic it is to choose the checkpoint and T on the
same rows. Beside the link nothing here is the package's own: it is what that is judged by.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression
from tqdm import tqdm

from hf_squareloss.comparison import environment
from hf_squareloss.losses import loss_from_dict

RESULTS = Path(__file__).with_name("calibration.json")
FLOOR = 1e-9  # of a probability, so that one row cannot make a likelihood infinite
BINS = 15
WIDEST = 12.0  # |log T M|
Part = tuple[np.ndarray, np.ndarray]  # scores (N, C) and labels (N,)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="TASK/RUN, those without scores of a test part left out")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    runs = [read_run(folder) for folder in sorted(args.folders) if (folder / "scores/test.npz").exists()]
    if not runs:
        raise SystemExit("no folder has scores/test.npz: benchmarks/recorded_scores.py writes it")
    entries = [fitted(run) for run in tqdm(runs, desc="runs")]
    without_validation(runs, entries)
    chosen = [checkpoints(folder) for folder in sorted(args.folders) if any(folder.glob("checkpoint-*/scores"))]
    where = {"environment": environment(), "threads": torch.get_num_threads()}
    results = {**where, "runs": entries, "checkpoints": chosen}
    args.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf8")


# ---- what runs left --------------------------------------------------------------------------------------------------
def read_run(folder: Path) -> dict[str, Any]:
    """One run: its task, its loss, M, and a part (scores, labels) for each file."""
    parts: dict[str, Part] = {}
    loss: Any = None
    for file in sorted((folder / "scores").glob("*.npz")):
        with np.load(file) as content:
            scores, labels = content["scores"].astype(np.float64), content["labels"]
            loss = loss_from_dict(json.loads(str(content["loss"])))
        if loss.calibration is not None:
            raise SystemExit(f"{file}: the model was calibrated, perhaps in its head: run it with --calibrate False")
        kept = labels.reshape(-1) >= 0  # -100 marks what is no item
        parts[file.stem] = (scores.reshape(-1, scores.shape[-1])[kept], labels.reshape(-1)[kept])
    size = float(loss.M) if loss.name == "square" else 1.0
    return {"task": folder.parent.name, "run": folder.name, "loss": loss, "M": size, "parts": parts}


# ---- measures --------------------------------------------------------------------------------------------------------
def measures(p: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """ECE (15 equal-mass bins, predicted class), Brier score (sum over classes) and negative log-likelihood."""
    confidence, right = p.max(-1), p.argmax(-1) == labels
    order = np.argsort(confidence, kind="stable")
    gaps = [abs(right[b].mean() - confidence[b].mean()) * len(b) for b in np.array_split(order, BINS) if len(b)]
    brier = (np.square(p).sum(-1) - 2 * p[np.arange(len(p)), labels] + 1).mean()
    return {"ece": float(sum(gaps) / len(p)), "brier": float(brier), "nll": likelihood(p, labels)}


def likelihood(p: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log p_y, p of FLOOR at least."""
    return float(-np.log(np.maximum(p[np.arange(len(p)), labels], FLOOR)).mean())


# ---- from scores to probabilities ------------------------------------------------------------------------------------
def softmax(scores: np.ndarray) -> np.ndarray:
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def link(loss: Any, scores: np.ndarray) -> np.ndarray:
    return loss.probabilities(torch.from_numpy(scores)).numpy()


def continued(scores: np.ndarray, k: float, M: float) -> np.ndarray:
    """q(f) = f / (kM - (k - 1) f) for f in [0, M], and straight on beyond."""
    inside = np.clip(scores, 0.0, M)
    q = inside / (k * M - (k - 1.0) * inside)
    return q + np.minimum(scores, 0.0) / (k * M) + k * np.maximum(scores - M, 0.0) / M


def projected(q: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex to each row (N, C) (Held, Wolfe & Crowder 1974)."""
    falling = -np.sort(-q, axis=-1)
    excess = (falling.cumsum(-1) - 1.0) / np.arange(1, q.shape[-1] + 1)
    last = (falling > excess).sum(-1, keepdims=True) - 1
    return np.maximum(q - np.take_along_axis(excess, last, -1), 0.0)


def mixed(p: np.ndarray, share: float) -> np.ndarray:
    return (1.0 - share) * p + share / p.shape[-1]


def fit_share(p: np.ndarray, labels: np.ndarray) -> float:
    """The share of the uniform distribution with the least negative log-likelihood."""
    return least(lambda share: likelihood(mixed(p, share), labels), 1e-6, 1.0)


def least(objective: Callable[[float], float], low: float, high: float) -> float:
    """Where the objective is least between two bounds."""
    found: Any = minimize_scalar(objective, bounds=(low, high), method="bounded")
    return float(found.x)


def fit_temperature(part: Part, size: float = 1.0) -> float:
    """T of the least negative log-likelihood of softmax(T f), between e^-12 / M and e^12 / M."""
    scores, labels = part
    best = least(lambda t: likelihood(softmax(np.exp(t) * scores / size), labels), -WIDEST, WIDEST)
    return float(np.exp(best)) / size


def fit_vector(part: Part, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """a and b (C,) of softmax(a * f + b), from a = T and b = 0."""
    scores, labels = part
    rows, classes = scores.shape
    wanted = np.eye(classes)[labels]

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        a, b = values[:classes] * temperature, values[classes:]
        p = softmax(a * scores + b)
        error = (p - wanted) / rows
        return likelihood(p, labels), np.concatenate([(error * scores).sum(0) * temperature, error.sum(0)])

    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    best = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return best[:classes] * temperature, best[classes:]


def isotonic(fit_on: Part, scores: np.ndarray) -> np.ndarray:
    columns = []
    for c in range(scores.shape[-1]):
        curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        columns.append(curve.fit(fit_on[0][:, c], fit_on[1] == c).predict(scores[:, c]))
    p = np.stack(columns, -1) + FLOOR  # a row without any probability becomes uniform
    return p / p.sum(-1, keepdims=True)


# ---- candidates that are fitted on the validation part ---------------------------------------------------------------
def fitted(run: dict[str, Any]) -> dict[str, Any]:
    """What a run's table says: its candidates' measures on the test part, and what they fitted."""
    loss, size, (scores, labels) = run["loss"], run["M"], run["parts"]["test"]
    validation: Part = run["parts"]["validation"]
    T = fit_temperature(validation, size)
    a, b = fit_vector(validation, T)
    share = fit_share(softmax(T * validation[0]), validation[1])
    found = {
        "link": link(loss, scores),
        "T": softmax(T * scores),
        "T, uniform": mixed(softmax(T * scores), share),
        "vector": softmax(a * scores + b),
        "isotonic": isotonic(validation, scores),
    }
    entry: dict[str, Any] = {"task": run["task"], "run": run["run"], "loss": str(loss), "name": loss.name, "M": size}
    if loss.name == "square":
        entry["k"] = float(loss.k)
        share = fit_share(projected(continued(validation[0], loss.k, size)), validation[1])
        entry["uniform_share"] = share
        found["projection"] = mixed(projected(continued(scores, loss.k, size)), share)
        found["slope"] = softmax(slope(run) / size * scores)
        found["sure"] = softmax(max(slope(run), 2 * np.log(scores.shape[-1])) / size * scores)
    chosen = scores.argmax(-1)
    return entry | {
        "classes": scores.shape[-1],
        "rows": {name: len(part[1]) for name, part in run["parts"].items()},
        "accuracy": {name: float((part[0].argmax(-1) == part[1]).mean()) for name, part in run["parts"].items()},
        "T M": T * size,
        "candidates": {name: measures(p, labels) for name, p in found.items()},
        "other_class": {name: float((p.argmax(-1) != chosen).mean()) for name, p in found.items()},
    }


# ---- candidates that need no validation part -------------------------------------------------------------------------
def residual_scale(run: dict[str, Any]) -> float:
    """M^2 / s^2, s^2 the mean square of M e_y - f over training rows and classes."""
    scores, labels = run["parts"]["train"]
    return run["M"] ** 2 / float(np.square(run["M"] * np.eye(scores.shape[-1])[labels] - scores).mean())


def slope(run: dict[str, Any]) -> float:
    """T M = M d(log p) / df of the link, at p = 1 / C."""
    classes, k = run["parts"]["test"][0].shape[-1], run["loss"].k
    return float(classes * (1 + (k - 1) / classes) ** 2 / k)


def on_training_rows(run: dict[str, Any]) -> float:
    """T M fitted on training rows."""
    return fit_temperature(run["parts"]["train"], run["M"]) * run["M"]


RULES: dict[str, Callable[[dict[str, Any]], float]] = {
    "fixed": lambda run: 1.0,
    "power": lambda run: run["parts"]["test"][0].shape[-1],
    "residuals": residual_scale,
    "training": on_training_rows,
    "both": lambda run: np.sqrt(on_training_rows(run) * slope(run)),
}  # what T M is proportional to


def without_validation(runs: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]) -> None:
    """Adds to the square losses' entries the candidates with constants of the other tasks."""
    square = [i for i, run in enumerate(runs) if run["loss"].name == "square"]
    for name, rule in RULES.items():
        of_run = {i: float(np.log(rule(runs[i]))) for i in square if name == "fixed" or "train" in runs[i]["parts"]}
        for i, base in of_run.items():
            others = [j for j in of_run if runs[j]["task"] != runs[i]["task"]]
            if not others:
                continue
            exponent = 1.0
            wanted = [np.log(entries[j]["T M"]) for j in others]
            if name == "power" and len({of_run[j] for j in others}) > 1:
                exponent = float(np.polyfit([of_run[j] for j in others], wanted, 1)[0])
            constant = best_constant([(runs[j], exponent * of_run[j]) for j in others])
            entry, (scores, labels) = entries[i], runs[i]["parts"]["test"]
            scale = np.exp(constant + exponent * base)
            entry["candidates"][name] = measures(softmax(scale * scores / runs[i]["M"]), labels)
            entry.setdefault("constants", {})[name] = {"c": float(np.exp(constant)), "a": exponent, "T M": float(scale)}


def best_constant(others: Iterable[tuple[dict[str, Any], float]]) -> float:
    """log c with the least negative log-likelihood on the validation parts, every task weighing the same."""
    others = list(others)
    tasks = [run["task"] for run, _ in others]
    weights = np.array([1.0 / tasks.count(task) for task in tasks])

    def objective(constant: float) -> float:
        return float(weights @ [surprise(run, constant + base) for run, base in others])

    def surprise(run: dict[str, Any], log_scale: float) -> float:
        scores, labels = run["parts"]["validation"]
        few = slice(0, 1000)
        return likelihood(softmax(np.exp(log_scale) / run["M"] * scores[few]), labels[few])

    grid = np.linspace(-WIDEST, WIDEST, 25)
    start = grid[int(np.argmin([objective(c) for c in grid]))]
    return least(objective, start - 1.0, start + 1.0)


# ---- one part for choosing the checkpoint and for T ------------------------------------------------------------------
def checkpoints(folder: Path, splits: int = 20) -> dict[str, Any]:
    """What it costs to fit T on the rows that chose the checkpoint, over random halves of the validation part.

    The half that chooses, by accuracy, fits T (same), or the other half does (other). The measures are those on the
    test part; `claimed` are those on the rows that chose and fitted.
    """
    saved = [read_run(path) for path in sorted(folder.glob("checkpoint-*")) if (path / "scores/test.npz").exists()]
    rng = np.random.default_rng(0)
    rows = len(saved[0]["parts"]["validation"][1])
    found: dict[str, list[dict[str, float]]] = {"same": [], "other": [], "claimed": []}
    for _ in range(splits):
        order = rng.permutation(rows)
        chooses, other = order[: rows // 2], order[rows // 2 :]

        def part(run: dict[str, Any], chosen: np.ndarray) -> Part:
            scores, labels = run["parts"]["validation"]
            return scores[chosen], labels[chosen]

        def accuracy(run: dict[str, Any], chosen: np.ndarray) -> float:
            scores, labels = part(run, chosen)
            return float((scores.argmax(-1) == labels).mean())

        best = max(saved, key=lambda run: accuracy(run, chooses))
        scores, labels = best["parts"]["test"]
        for name, rows_of_T in (("same", chooses), ("other", other)):
            T = fit_temperature(part(best, rows_of_T), best["M"])
            found[name].append(measures(softmax(T * scores), labels))
            if name == "same":
                kept, kept_labels = part(best, chooses)
                found["claimed"].append(measures(softmax(T * kept), kept_labels))
    means = {
        name: {key: float(np.mean([v[key] for v in values])) for key in values[0]} for name, values in found.items()
    }
    return {"task": folder.parent.name, "run": folder.name, "loss": str(saved[0]["loss"]), "of": len(saved), **means}


if __name__ == "__main__":
    main()
