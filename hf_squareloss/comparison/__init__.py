"""The comparison of losses: the files of a study, its statistics, and tables of it."""

from hf_squareloss._markdown import markdown_table, markdown_text
from hf_squareloss.comparison._analysis import (
    Analysis,
    Comparison,
    Pooled,
    ProblemAnalysis,
    analyse,
)
from hf_squareloss.comparison._card import card_pictures, study_card, write_card
from hf_squareloss.comparison._command import COMPARE, add_compare_options, compare, read_study, shown_command
from hf_squareloss.comparison._engine import Stopped, carry_out
from hf_squareloss.comparison._environment import (
    environment,
)
from hf_squareloss.comparison._execution import Order, Outcome, execute
from hf_squareloss.comparison._markdown import overview_markdown, study_markdown
from hf_squareloss.comparison._orders import Options
from hf_squareloss.comparison._pictures import outlying, reliability_picture, reliability_points
from hf_squareloss.comparison._pool import LocalPool, Pool
from hf_squareloss.comparison._problems import (
    Contender,
    Problem,
    baseline_label,
    best_epoch,
    choose_learning_rate,
    problems,
)
from hf_squareloss.comparison._ray_pool import RayPool
from hf_squareloss.comparison._records import (
    SCHEMA,
    Epoch,
    ReliabilityBins,
    Results,
    RunRecord,
    read_runs,
    run_name,
    write_run,
)
from hf_squareloss.comparison._report import report
from hf_squareloss.comparison._results import (
    merged_results,
    read_results,
    results_of,
    write_results,
)
from hf_squareloss.comparison._scripts import find_script, recipes
from hf_squareloss.comparison._statistics import (
    PairedComparison,
    PooledMean,
    PooledRatio,
    SpreadRatio,
    paired_comparison,
    pooled_mean,
    pooled_ratio,
    spread_ratio,
    standardised_advantages,
)
from hf_squareloss.comparison._study import LossChoice, Study, Task, make_study
from hf_squareloss.comparison._words import (
    interval_text,
    number,
    probability,
    verdict,
    warnings,
)

__all__ = [
    "COMPARE",
    "LocalPool",
    "LossChoice",
    "Options",
    "Order",
    "Outcome",
    "Pool",
    "RayPool",
    "Stopped",
    "Study",
    "Task",
    "add_compare_options",
    "carry_out",
    "compare",
    "execute",
    "find_script",
    "interval_text",
    "make_study",
    "read_study",
    "recipes",
    "SCHEMA",
    "Analysis",
    "Comparison",
    "Contender",
    "Epoch",
    "PairedComparison",
    "Pooled",
    "PooledMean",
    "PooledRatio",
    "Problem",
    "ProblemAnalysis",
    "ReliabilityBins",
    "Results",
    "RunRecord",
    "SpreadRatio",
    "analyse",
    "baseline_label",
    "best_epoch",
    "card_pictures",
    "choose_learning_rate",
    "environment",
    "markdown_table",
    "markdown_text",
    "merged_results",
    "number",
    "outlying",
    "overview_markdown",
    "paired_comparison",
    "pooled_mean",
    "pooled_ratio",
    "probability",
    "problems",
    "read_results",
    "read_runs",
    "reliability_picture",
    "reliability_points",
    "report",
    "results_of",
    "run_name",
    "shown_command",
    "spread_ratio",
    "standardised_advantages",
    "study_card",
    "study_markdown",
    "verdict",
    "warnings",
    "write_card",
    "write_results",
    "write_run",
]
