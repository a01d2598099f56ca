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
    "ReliabilityBins",
    "Results",
    "Row",
    "RunRecord",
    "environment",
    "markdown_table",
    "metric_of",
    "read_results",
    "read_runs",
    "run_name",
    "spread",
    "summary",
    "write_run",
]
