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
from hf_squareloss.comparison._environment import (
    environment,
)
from hf_squareloss.comparison._markdown import overview_markdown, study_markdown
from hf_squareloss.comparison._pictures import outlying, reliability_picture, reliability_points
from hf_squareloss.comparison._problems import (
    Contender,
    Problem,
    baseline_label,
    best_epoch,
    choose_learning_rate,
    problems,
)
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
    read_results,
    results_of,
    write_results,
)
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
from hf_squareloss.comparison._summary import METRICS, Row, metric_of, spread, summary
from hf_squareloss.comparison._words import (
    verdict,
    warnings,
)

__all__ = [
    "METRICS",
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
    "Row",
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
    "metric_of",
    "outlying",
    "overview_markdown",
    "paired_comparison",
    "pooled_mean",
    "pooled_ratio",
    "problems",
    "read_results",
    "read_runs",
    "reliability_picture",
    "reliability_points",
    "report",
    "results_of",
    "run_name",
    "spread",
    "spread_ratio",
    "standardised_advantages",
    "study_card",
    "study_markdown",
    "summary",
    "verdict",
    "warnings",
    "write_card",
    "write_results",
    "write_run",
]
