"""What the built-in demos of the example scripts reach, and the time they take.

    python benchmarks/demos.py --losses square cross_entropy --seeds 0 1 2 --demos digits keys

Each run is a script in a process of its own with the demo's settings; what is counted is the time that the process and
its children computed, from the start of Python to the saved predictions, so that what else the machine does counts
little. Each run is written into --output as it ends, and what is there is not run again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from measuring import read, write
from tqdm import tqdm

from hf_squareloss.comparison import environment

RESULTS = Path(__file__).with_name("demos.json")
EXAMPLES = Path(__file__).parents[1] / "examples"
DEMOS: dict[str, tuple[str, str]] = {  # what is learnt -> the command line, and the metric of its test part
    "topics": ("run_glue.py", "accuracy"),
    "digits": ("run_image_classification.py", "accuracy"),
    "keys": ("run_audio_classification.py", "accuracy"),
    "tones": ("run_speech_recognition_ctc.py", "wer"),
    "tokens": ("run_ner.py", "f1"),
    "choices": ("run_multiple_choice.py", "accuracy"),
    "characters": ("run_language_modeling.py", "accuracy"),
    "words": ("run_language_modeling.py --demo words", "accuracy"),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", nargs="+", default=list(DEMOS), choices=DEMOS)
    parser.add_argument("--losses", nargs="+", default=["square", "cross_entropy"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    results = read(args.output) or {"environment": environment(), "threads": args.threads, "runs": []}
    if results["threads"] != args.threads:
        raise SystemExit(f"{args.output} holds runs with {results['threads']} threads: give another --output")
    done = [run["key"] for run in results["runs"]]
    names = ("demo", "loss", "seed")
    keys = [dict(zip(names, key, strict=True)) for key in product(args.demos, args.losses, args.seeds)]
    for key in tqdm([key for key in keys if key not in done], desc="demos"):
        results["runs"].append({"key": key, **run_demo(**key, threads=args.threads)})
        write(args.output, results)


def run_demo(demo: str, loss: str, seed: int, threads: int) -> dict[str, Any]:
    """Seconds of computing, and the measures of the test part."""
    script, *options = DEMOS[demo][0].split()
    command = [sys.executable, str(EXAMPLES / script), *options, "--loss", loss, "--seed", str(seed), "--use_cpu"]
    command += ["--disable_tqdm", "True", "--report_to", "none"]
    with tempfile.TemporaryDirectory() as folder:
        before = computed()
        run = subprocess.run(
            [*command, "--output_dir", folder],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)}, capture_output=True, text=True,
        )  # fmt: skip
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{run.stderr}")
        seconds = computed() - before
        metrics = json.loads(Path(folder, "all_results.json").read_text(encoding="utf8"))
    test = {name.removeprefix("test_"): value for name, value in metrics.items() if name.startswith("test_")}
    return {"cpu_seconds": round(seconds, 1), "test": test}


def computed() -> float:
    """Seconds that children of this process have computed, on all cores together."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
