"""Every benchmark, one after the other, into results.json; `make docs` renders that into docs/.

    python benchmarks/run_all.py

Options go to each (--rounds, --threads, --output, --quick). The two about texts use the docstrings and the encoder of
the demo, or --train_file, --validation_file and --model_name_or_path. Leave the machine alone meanwhile: almost three
hours on two cores, half of it the largest head. language_modeling.py takes hours more and is run by itself, as are
many_classes.py and calibration.py, which reads what runs of the scripts left.
"""

import argparse
import sys

import ctc_loss
import given_scores
import linear_square_loss
import run_glue_stages
import text_classification
import training_step


def main(argv: list[str] | None = None) -> None:
    texts = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in run_glue_stages.OPTIONS:
        texts.add_argument(f"--{name}")
    given, shared = texts.parse_known_args(argv)
    data = {name: value for name, value in vars(given).items() if value is not None}
    for benchmark in (given_scores, ctc_loss, training_step, linear_square_loss):
        benchmark.main(shared)
    linear_square_loss.main([*shared, "--parts", "largest"])
    run_glue_stages.main([*shared, *options(data)])
    data.pop("validation_file", None)
    text_classification.main([*shared, *options(data)])


def options(values: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main()
