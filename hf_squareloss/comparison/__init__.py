"""The comparison of losses: what results.json holds, its statistics, and tables of it."""

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
    "Row",
    "environment",
    "markdown_table",
    "metric_of",
    "read_results",
    "spread",
    "summary",
]
