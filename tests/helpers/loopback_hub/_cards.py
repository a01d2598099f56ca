"""The metadata at the top of a model card, and what the Hub finds wrong with them."""

import re
from typing import Any

import yaml

REPO_ID = r"[\w.\-]+(?:/[\w.\-]+)?"
LANGUAGE = r"[a-z]{2,3}(-[A-Za-z]{2,4})?|multilingual|code"


def read_card(text: str) -> dict[str, Any]:
    """The YAML block at the top of a README.md."""
    block = re.match(r"\A---[\r\n]+([\s\S]*?)[\r\n]+---([\r\n]+|\Z)", text)
    data = yaml.safe_load(block.group(1)) if block else {}
    if not isinstance(data, dict | None):
        raise ValueError("repo card metadata block should be a dict")
    return data or {}


def card_errors(text: str) -> list[str]:
    """The part of the Hub's card validation that a training script can get wrong."""
    try:
        card = read_card(text)
    except (yaml.YAMLError, ValueError) as error:
        return [f"YAML Metadata Error: {error}"]
    errors = []
    for i, model in enumerate(card.get("model-index") or []):
        if not model.get("name"):
            errors.append(f'"model-index[{i}].name" is required')
        for j, result in enumerate(model.get("results") or []):
            errors += [f'"model-index[{i}].results[{j}].{key}" is required' for key in missing_result_keys(result)]
    for key, pattern in (("language", LANGUAGE), ("base_model", REPO_ID), ("datasets", REPO_ID)):
        values = card.get(key) or []
        for value in values if isinstance(values, list) else [values]:
            if not re.fullmatch(pattern, str(value)):
                errors.append(f'"{key}" with value {value!r} is not valid')
    return errors


def missing_result_keys(result: dict[str, Any]) -> list[str]:
    needed = (("task", "type"), ("dataset", "type"), ("dataset", "name"))
    missing = [f"{section}.{key}" for section, key in needed if not (result.get(section) or {}).get(key)]
    for k, metric in enumerate(result.get("metrics") or []):
        missing += [f"metrics[{k}].{key}" for key in ("type", "value") if metric.get(key) is None]
    return missing
