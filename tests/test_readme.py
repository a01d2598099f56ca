"""The README's commands and code are valid as they stand on the page, and its figures are the results files' own."""

import ast
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from accelerate.commands.launch import launch_command_parser

import hf_squareloss
from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.recipes.cli import parse_arguments

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def example(name: str) -> ModuleType:
    folder = "benchmarks" if name.startswith("render") else "examples"
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_make_targets_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = {words[1] for words in commands() if words[0] == "make"}
    assert named >= {"demo", "test"} and named <= set(targets)


def argument_classes(script: str) -> tuple[type, ...]:
    module = example(script)
    return (
        module.ModelArguments,
        module.DataArguments,
        vars(module).get("TrainingArguments", SquareLossTrainingArguments),
    )


def test_launch_commands_parse() -> None:
    seen: dict[str, int] = {}
    for words in commands():
        words = [word for word in words if word != "..." and "=" not in word.split("/")[0].split("-")[0]]
        if "accelerate" not in words:
            continue
        words = words[words.index("accelerate") + 2 :]
        place = next(i for i, word in enumerate(words) if word.startswith("examples/"))
        parsed = launch_command_parser().parse_args([*words[:place], "script.py"])
        assert parsed.training_script == "script.py"
        script = Path(words[place]).stem
        own = [word for word in words[place + 1 :] if word != "--push_to_hub"]
        parse_arguments(argument_classes(script), [*own, "--use_cpu", "--output_dir", "x"])
        seen[script] = seen.get(script, 0) + 1
    assert seen["run_glue"] >= 4 and seen.keys() >= {"run_speech_recognition_ctc", "run_speech_recognition_seq2seq"}


def test_the_recipe_and_its_options_exist() -> None:
    words = next(words for words in commands() if any("speechbrain/train.py" in word for word in words))
    script, hyperparameters, *options = words[1:]
    assert (ROOT / script).is_file()
    known = (ROOT / hyperparameters).read_text()
    assert all(f"\n{word[2:]}:" in known for word in options if word.startswith("--"))


def test_a_wrong_option_is_noticed() -> None:
    run_glue = example("run_glue")
    with pytest.raises((SystemExit, ValueError)):
        parse_arguments((run_glue.ModelArguments, run_glue.DataArguments), ["--no_such_option", "1"])


def test_comparison_command_parses() -> None:
    found = [words for words in commands() if "examples/compare_losses.py" in words]
    assert len(found) == 1
    args, shared = example("compare_losses").parse(found[0][2:])
    assert args.losses == ["cross_entropy", "square", "squentropy"] and "--train_file" in shared


def test_python_blocks_compile_and_name_what_exists() -> None:
    code = "\n".join(blocks("python"))
    tree = ast.parse(code)
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "hf_squareloss"
        for alias in node.names
    ]
    assert {"load_loss", "probability_pipeline"} <= set(imported)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(hf_squareloss.__all__)
    assert used >= {"attach_loss", "ctc_loss", "ctc_beam_search", "probability_generation", "log_probabilities"}
    for name in [*imported, *used, "SquareLossTrainer", "LossSelectionMixin"]:
        assert hasattr(hf_squareloss, name) and name in README


def test_figures_are_rendered_from_results_files() -> None:
    with pytest.raises(SystemExit) as stop:
        example("render_results").main(["--check"])
    assert stop.value.code == 0


def test_stale_figures_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render = example("render_results")
    benchmarks = render.BENCHMARKS / "results.json"
    places = render.tables(render.read_results(benchmarks))
    marks = [f"<!-- {name} -->\nold\n<!-- end {name} -->\n" for name in ("results", *places)]
    (tmp_path / "README.md").write_text("".join(marks))
    (tmp_path / "results.json").write_bytes(benchmarks.read_bytes())
    monkeypatch.setattr(render, "ROOT", tmp_path)
    monkeypatch.setattr(render, "CARDS", tmp_path / "model_cards")
    monkeypatch.setattr(render, "BENCHMARKS", tmp_path)
    with pytest.raises(SystemExit, match=r"README.md, growth.svg: run make docs"):
        render.main(["--check"])
    render.main([])
    with pytest.raises(SystemExit) as stop:
        render.main(["--check"])
    assert stop.value.code == 0
    (tmp_path / "growth.svg").write_text("<svg/>")
    with pytest.raises(SystemExit, match=r"out of date: growth.svg"):
        render.main(["--check"])
