"""The comparison of losses: what results.json holds, its statistics, and tables of it."""

from hf_squareloss.comparison._statistics import (
    LOWER_IS_BETTER,
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
    "LOWER_IS_BETTER",
    "METRICS",
    "Row",
    "environment",
    "markdown_table",
    "metric_of",
    "read_results",
    "spread",
    "summary",
]
