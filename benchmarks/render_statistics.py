"""The tables of docs/statistics.md: misses of intervals from interval_coverage.json, and the fields of run files."""

from typing import Any

from hf_squareloss.comparison import SCHEMA, markdown_table, markdown_text


def statistics(coverage: dict[str, Any]) -> dict[str, str]:
    """Name of the place between marks -> its Markdown."""
    return {
        "coverage of one task": one_task(coverage["one_task"]),
        "coverage over tasks": over_tasks(coverage["over_tasks"]),
        "fields of results": fields(SCHEMA),
        "fields of a run": fields(SCHEMA["$defs"]["RunRecord"]),
    }


def one_task(rows: list[dict[str, Any]]) -> str:
    header = ["differences", "seeds", "Student", "BCa", "sign flips, p ≤ 0.05"]
    names = ("student", "bca", "sign_flips")
    return markdown_table(
        header, [[row["drawn"], str(row["seeds"]), *(f"{row[name]:.3f}" for name in names)] for row in rows]
    )


def over_tasks(rows: list[dict[str, Any]]) -> str:
    header = ["deviation of the tasks' true advantages", "tasks", "seeds", "Student over tasks", "two-stage bootstrap"]
    return markdown_table(
        header,
        [
            [f"{row['deviation_of_tasks']:g}", str(row["tasks"]), str(row["seeds"])]
            + [f"{row[name]:.3f}" for name in ("student", "two_stage")]
            for row in rows
        ],
    )


def fields(schema: dict[str, Any]) -> str:
    """A row for each field of an object."""
    rows = []
    for name, field in schema["properties"].items():
        needed = "yes" if name in schema["required"] else ""
        rows.append([f"`{name}`", kind(field), needed, markdown_text(field["description"])])
    return markdown_table(["field", "type", "needed", "what"], rows)


def kind(field: dict[str, Any]) -> str:
    """The type of a field in a word or two."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(kind(each) for each in field["anyOf"]))
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return " or ".join(f'"{value}"' for value in field["enum"])
    return field.get("type", "object")
