"""Where the time of one examples/run_glue.py goes, from the start of Python to the saved model, and of the same again.

    python benchmarks/run_glue_stages.py --train_file train.tsv --validation_file dev.tsv \
        --model_name_or_path MODEL

Each run is a process of its own with the defaults of run_glue.py; the one called "again" finds the texts tokenized.
Without files: the built-in demo's texts, which are in memory and tokenized each time.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import time
from typing import Any

from measuring import parsed, parser, save
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

OPTIONS = ("train_file", "validation_file", "model_name_or_path")
FIRST, AGAIN = "first run", "again"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__, rounds=5)
    for name in OPTIONS:
        options.add_argument(f"--{name}")
    options.add_argument("--max_train_samples", type=int, default=1600, help="examples in one run")
    args = parsed(options, argv)
    if args.quick:
        args.max_train_samples = 64
    command = ["--loss", "square", "--num_train_epochs", "1", "--do_train", "--do_eval", "--disable_tqdm", "True"]
    command += ["--max_train_samples", str(args.max_train_samples)]
    for name in OPTIONS:
        command += [f"--{name}", vars(args)[name]] if vars(args)[name] else []
    seconds = {name: list[dict[str, float]]() for name in (FIRST, AGAIN)}
    for _ in tqdm(range(args.rounds), desc="runs of run_glue.py"):
        with tempfile.TemporaryDirectory() as cache:
            for name, found in seconds.items():
                found.append(in_a_process([*command, "--output_dir", f"{cache}/{name}"], cache, args.threads))
    medians = {name: {stage: median(run[stage] for run in runs) for stage in runs[0]} for name, runs in seconds.items()}
    data = Path(args.train_file).parent.name if args.train_file else "docstrings"
    results = save(args, "run_glue_stages", data=data, samples=args.max_train_samples, seconds=medians)
    show(results)
    return results


def in_a_process(command: list[str], cache: str, threads: int) -> dict[str, float]:
    """Seconds of each stage of a run of run_glue.py in a new Python with an empty or a given cache of data sets."""
    written = Path(cache, "seconds.json")
    environment = {"HF_DATASETS_CACHE": f"{cache}/datasets", "OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(
        [sys.executable, __file__, "--stages", str(time()), str(written), *command],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"run_glue.py {' '.join(command)} failed:\n{run.stderr}")
    return json.loads(written.read_text(encoding="utf8"))


def stages(started: float, written: Path, command: list[str]) -> None:
    """Run run_glue.py in this process and write the seconds of its stages."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    import run_glue
    from transformers import DataCollatorWithPadding, Trainer

    from hf_squareloss.recipes.text_arguments import DataArguments

    clock = Clock({"start and imports": time() - started})
    for stage, owner, names in (
        ("reading the data", DataArguments, ["load"]),
        ("loading the model", run_glue, ["load_classifier"]),
        ("tokenizing", DataArguments, ["tokenize"]),
        ("padding", DataCollatorWithPadding, ["__call__"]),
        ("training", Trainer, ["train"]),
        ("evaluation", Trainer, ["evaluate"]),
        ("saving", Trainer, ["save_model", "_save_checkpoint"]),
    ):
        for name in names:
            setattr(owner, name, clock.timing(stage, getattr(owner, name)))
    run_glue.main(command)
    rest = time() - started - sum(clock.seconds.values())
    written.write_text(json.dumps(clock.seconds | {"everything else": rest}), encoding="utf8")


class Clock:
    """Seconds in each stage, without those of the stages that it calls."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self._inner = seconds, 0.0

    def timing(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds[stage] = 0.0

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner, start = self._inner, 0.0, time()
            try:
                return function(*args, **kwargs)
            finally:
                whole = time() - start
                self.seconds[stage] += whole - self._inner
                self._inner = outer + whole

        return timed


def show(results: dict[str, Any]) -> None:
    table = Table(title=f"run_glue.py, {results['data']}, {results['samples']} samples: seconds", title_justify="left")
    for column in ("", FIRST, AGAIN):
        table.add_column(column)
    for stage, seconds in results["seconds"][FIRST].items():
        table.add_row(stage, f"{seconds:.1f}", f"{results['seconds'][AGAIN][stage]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stages"]:
        stages(float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    else:
        main()
