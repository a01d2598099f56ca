"""Every benchmark, one after the other, into results.json; `make docs` renders that into the README.

    python examples/benchmarks/run_all.py

All options go to each (--rounds, --threads, --output, --quick). Leave the machine alone meanwhile: almost three hours
on two cores, half of it the largest head. text_classification.py and run_glue_stages.py alone take files and a model
of one's own; here they use the demo's.
"""

import sys

import ctc_loss
import given_scores
import linear_square_loss
import run_glue_stages
import text_classification
import training_step


def main(argv: list[str] | None = None) -> None:
    for benchmark in (given_scores, ctc_loss, training_step, linear_square_loss, text_classification, run_glue_stages):
        benchmark.main(argv)
    linear_square_loss.main([*(sys.argv[1:] if argv is None else argv), "--largest"])


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        sys.exit(__doc__)
    main()
