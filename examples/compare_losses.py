"""Compare losses on one task: the same epochs and the same short list of learning rates for each, over several seeds.

    python examples/compare_losses.py --losses cross_entropy square squentropy --learning_rates 1e-4 3e-4 \
        --seeds 0 1 2 --output_dir outputs/compare-mrpc -- \
        --train_file train.tsv --validation_file dev.tsv --test_file test.tsv \
        --model_name_or_path bert-base-cased --num_train_epochs 3

What stands after `--` goes to the script for every run: examples/run_glue.py, or another one with the same options for
training, given by --script (with --metric cer for speech). The learning rate of each loss is chosen with the
first seed on the validation part; the test part is looked at once, by the chosen models. Every run is kept, with its
own folder and a line in results.json; the same command resumes where it was interrupted.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from hf_squareloss.comparison import environment, spread, summary
from hf_squareloss.losses import make_loss
from hf_squareloss.metric_order import greater_is_better
from hf_squareloss.recipes.cli import run_script

EXAMPLES = Path(__file__).parent


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args, shared = parse(list(sys.argv[1:] if argv is None else argv))
    args.output_dir.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "title": args.title or args.output_dir.name,
        "script": args.script,
        "metric": args.metric,
        "learning_rates": args.learning_rates,
        "arguments": [public(a) for a in shared],
        "files": contents(shared),
        "environment": environment(),
        "chosen": {},
        "runs": [],
    }
    refuse_other_arguments(args.output_dir / "results.json", results)
    tests = len(args.seeds) if has_test(shared) else 0
    total = len(args.losses) * (len(args.learning_rates) + len(args.seeds) - 1 + tests)
    with tqdm(total=total, desc="runs") as progress:
        for loss in args.losses:
            first = [run(args, shared, loss, lr, args.seeds[0], results, progress) for lr in args.learning_rates]
            best = choose(first, args.metric)
            results["chosen"][loss] = best
            for seed in args.seeds[1:]:
                run(args, shared, loss, best, seed, results, progress)
        for entry in results["runs"]:
            if entry["learning_rate"] == results["chosen"][entry["loss"]] and tests:
                entry["test"] = test(args, shared, entry)
                progress.update()
    write(args, results)
    show(results)
    return results


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", default=["cross_entropy", "square", "squentropy"])
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[2e-5, 5e-5, 1e-4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--script", default="run_glue.py", help="the example script that trains, in this folder")
    parser.add_argument("--metric", default="accuracy", help="chooses the learning rate, on the validation part")
    parser.add_argument("--title", help="name of the comparison in tables; default: the folder's")
    parser.add_argument("--output_dir", type=Path, required=True)
    args = parser.parse_args(argv[:split])
    if any(argument.split("=")[0] in ("--token", "--hub_token") for argument in argv):
        parser.error("results.json holds the arguments and is meant to be published: give tokens by HF_TOKEN")
    for loss in args.losses:
        make_loss(loss)  # an unknown one is refused before anything is trained
    if not argv[split + 1 :]:
        parser.error("give the arguments for the training script after --")
    return args, argv[split + 1 :]


def refuse_other_arguments(file: Path, results: dict[str, Any]) -> None:
    """Runs that are there already must be of the same task and settings."""
    there = read(file)
    for name in ("arguments", "files"):
        if there and there.get(name) != results[name]:
            raise ValueError(
                f"{file} holds runs with the {name} {there.get(name)}, not {results[name]}: choose another --output_dir"
            )


def choose(runs: list[dict[str, Any]], metric: str) -> float:
    """The learning rate of the run that is best on the validation part."""
    if metric not in runs[0]["validation"]:
        raise ValueError(f"there is no metric {metric!r}: there are {', '.join(runs[0]['validation'])}")
    sign = 1 if greater_is_better(metric) else -1
    return max(runs, key=lambda r: sign * r["validation"][metric])["learning_rate"]


def run(
    args: argparse.Namespace,
    shared: list[str],
    loss: str,
    learning_rate: float,
    seed: int,
    results: dict[str, Any],
    progress: Any,
) -> dict[str, Any]:
    """One training run, or its result if it is there already; results.json grows by it."""
    folder = args.output_dir / f"{loss}-lr{learning_rate:g}-seed{seed}"
    options = ["--loss", loss, "--learning_rate", str(learning_rate), "--seed", str(seed)]
    whole = {"arguments": [args.script, *results["arguments"], *options], "files": results["files"]}
    trained, evaluated = read(folder / "train_results.json"), read(folder / "eval_results.json")
    if not (trained and evaluated and read(folder / "_comparison.json") == whole):
        # The script itself refuses a folder with another run in it, and goes on with this one.
        (folder / "test_results.json").unlink(missing_ok=True)  # perhaps of another test file
        launch(args.script, [*shared, *options, "--do_train", "--do_eval", "--output_dir", str(folder)], folder)
        (folder / "_comparison.json").write_text(json.dumps(whole, indent=1) + "\n")
        trained, evaluated = read(folder / "train_results.json"), read(folder / "eval_results.json")
    entry = {
        "loss": loss,
        "learning_rate": learning_rate,
        "seed": seed,
        "seconds": trained["train_runtime"],
        "validation": plain(evaluated, "eval_"),
    }
    results["runs"].append(entry)
    write(args, results)
    progress.update()
    return entry


def test(args: argparse.Namespace, shared: list[str], entry: dict[str, Any]) -> dict[str, float]:
    folder = args.output_dir / f"{entry['loss']}-lr{entry['learning_rate']:g}-seed{entry['seed']}"
    if not read(folder / "test_results.json"):
        again = ["--model_name_or_path", str(folder), "--loss", entry["loss"], "--do_predict"]
        launch(args.script, [*shared, *again, "--output_dir", str(folder)], folder)
    return plain(read(folder / "test_results.json"), "test_")


def launch(script: str, arguments: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        command = [sys.executable, str(EXAMPLES / script), *arguments]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise SystemExit(f"{script} failed ({code}): see {folder / 'log.txt'}")


def read(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where it is missing or was cut off by a kill."""
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return {}


def contents(shared: list[str]) -> list[str]:
    """Name and digest of each file and folder among the arguments: the same name may come to hold something else."""
    found = []
    for argument in shared:
        path = Path(argument.rpartition("=")[2])
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        if path.exists():
            digest = hashlib.sha256()
            for file in files:
                digest.update(file.read_bytes())
            found.append(f"{path.name} {digest.hexdigest()[:16]}")
    return found


def plain(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    """Metrics without their prefix, and without timings."""
    hidden = ("runtime", "samples", "samples_per_second", "steps_per_second", "model_preparation_time")
    named = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in named.items() if name not in hidden}


def has_test(shared: list[str]) -> bool:
    return any(argument.split("=")[0] == "--test_file" for argument in shared)


def public(argument: str) -> str:
    """An argument without the folders of this machine."""
    option, equals, value = argument.rpartition("=")
    local = os.path.isabs(value) or (os.sep in value and Path(value).exists())
    return option + equals + Path(value).name if local else argument


def write(args: argparse.Namespace, results: dict[str, Any]) -> None:
    unfinished = args.output_dir / "results.json.part"
    unfinished.write_text(json.dumps(results, indent=1) + "\n")
    unfinished.replace(args.output_dir / "results.json")


def show(results: dict[str, Any]) -> None:
    """Mean and standard deviation over the seeds at the chosen learning rate: a column per loss, three abreast.

    Below them the paired t-test against the first loss, and the 95 % interval of the difference to it.
    """
    tested = any("test" in run for run in results["runs"])
    for part in ("validation", "test") if tested else ("validation",):
        rows = summary(results, part)
        for first in range(0, len(rows), 3):
            shown = rows[first : first + 3]
            table = Table("", *(row.loss for row in shown), title=f"{results['title']}, {part}", title_justify="left")
            table.add_row("learning rate", *(f"{row.learning_rate:g}" for row in shown))
            table.add_row("seeds", *(str(len(row.seeds)) for row in shown))
            for name in rows[0].values:
                table.add_row(name, *(spread(row.values[name]) for row in shown))
            values = ["" if row.p_value is None else f"{row.p_value:.2f}" for row in shown]
            table.add_row(f"p ({next(iter(rows[0].values))})", *values)
            bounds = ["" if row.interval is None else "{:+.4f} {:+.4f}".format(*row.interval) for row in shown]
            table.add_row("difference, 95 %", *bounds)
            table.add_row("seconds", *(f"{mean(row.seconds):.0f}" for row in shown))
            Console().print(table)


if __name__ == "__main__":
    run_script(main)
