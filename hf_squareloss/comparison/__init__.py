"""The comparison of losses: the files of a study, its statistics, and tables of it."""

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
from hf_squareloss.comparison._statistics import (
    PairedComparison,
    PooledMean,
    PooledRatio,
    SpreadRatio,
    paired_comparison,
    pooled_mean,
    pooled_ratio,
    spread_ratio,
)
from hf_squareloss.comparison._summary import (
    METRICS,
    Row,
    environment,
    markdown_table,
    metric_of,
    read_results,
    spread,
    summary,
)

__all__ = [
    "METRICS",
    "SCHEMA",
    "Epoch",
    "PairedComparison",
    "PooledMean",
    "PooledRatio",
    "ReliabilityBins",
    "Results",
    "Row",
    "RunRecord",
    "SpreadRatio",
    "environment",
    "markdown_table",
    "metric_of",
    "paired_comparison",
    "pooled_mean",
    "pooled_ratio",
    "read_results",
    "read_runs",
    "run_name",
    "spread",
    "spread_ratio",
    "summary",
    "write_run",
]
