"""The comparison of losses: the files of a study, its statistics, and tables of it."""

from hf_squareloss.comparison._command import COMPARE, add_compare_options, compare, read_study
from hf_squareloss.comparison._engine import Stopped, carry_out
from hf_squareloss.comparison._execution import Order, Outcome, execute
from hf_squareloss.comparison._orders import Options
from hf_squareloss.comparison._pool import LocalPool, Pool
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
from hf_squareloss.comparison._scripts import find_script, recipes
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
from hf_squareloss.comparison._study import LossChoice, Study, Task, make_study

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
    "make_study",
    "read_study",
    "recipes",
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
