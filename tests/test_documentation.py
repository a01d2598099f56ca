"""README and docs: their Python runs as pasted, their command lines parse, their links and quoted messages exist."""

import ast
import importlib
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from accelerate.commands.launch import launch_command_parser
from example_scripts import load_example

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.__main__ import parse
from hf_squareloss.comparison import analyse, read_results, read_study
from hf_squareloss.recipes.cli import parse_arguments

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]


class Block(NamedTuple):
    code: str
    line: int
    reason_not_to_run: str | None


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf8")
    pattern = rf"(?:<!-- no-run: (.*?) -->\n)?```{language}\n(.*?)```"
    found = re.finditer(pattern, text, re.DOTALL)
    return [Block(match[2], text.count("\n", 0, match.start(2)) + 1, match[1]) for match in found]


def commands(language: str = "bash") -> Iterator[list[str]]:
    """Every command line as words; a shell's variables are 1, and what a scheduler runs is a line of its own."""
    lines = "\n".join(block.code for page in PAGES for block in blocks(page, language)).replace("\\\n", " ")
    for line in re.sub(r"\$\(\(.*?\)\)|\$\(.*?\)|\$\w+", "1", lines).splitlines():
        words = shlex.split(line, comments=True)
        if "-c" in words:
            words = shlex.split(words[words.index("-c") + 1])
        if words:
            yield [word for word in words if not re.fullmatch(r"[A-Z_]+=\w+|\.\.\.", word)]


def run_blocks(page: Path) -> dict[str, Any]:
    """The names that a page's blocks leave, run one after the other in a module of their own."""
    module = ModuleType(f"page_{page.stem}")
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        for block in blocks(page, "python"):
            if block.reason_not_to_run is None:
                code = "\n" * (block.line - 1) + block.code
                exec(compile(code, str(page), "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]
    return vars(module)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")  # as any Trainer's on a CPU
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.stem)
def test_python_blocks_run_as_pasted(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_blocks(page)
    if page.stem == "README":
        right = names["probabilities"].argmax(-1) == torch.tensor([row["labels"] for row in names["data"][384:]])
        assert right.float().mean() > 0.9
    if page.stem == "migration":
        assert names["stock"] == pytest.approx(4.0, rel=1e-4) and names["ours"] == pytest.approx(1.0, rel=1e-4)
        assert sum(bool(line.strip()) for line in blocks(page, "python")[0].code.splitlines()) == 20


def test_a_broken_block_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n```python\nx = 1\n```\n\n```python\nprint(x + no_such_name)\n```\n")
    with pytest.raises(NameError, match="no_such_name") as error:
        run_blocks(page)
    assert error.traceback[-1].lineno == 7  # counted from 0: its own line of the page


def test_blocks_that_do_not_run_are_few_and_compile() -> None:
    left_out = [block for page in PAGES for block in blocks(page, "python") if block.reason_not_to_run is not None]
    assert 0 < len(left_out) <= 4
    for block in left_out:
        ast.parse(block.code)
        assert block.reason_not_to_run


def test_readme_is_short_and_leads_everywhere() -> None:
    text = PAGES[0].read_text(encoding="utf8")
    assert len(text.splitlines()) <= 160
    home = PROJECT["urls"]["Repository"]
    raw = home.replace("github.com", "raw.githubusercontent.com")
    for link in re.findall(r"\]\((.*?)\)", text):
        assert link.startswith("https://"), f"{link} would lead nowhere from the package index"
        for prefix in (f"{home}/blob/main/", f"{raw}/main/"):
            if link.startswith(prefix):
                assert (ROOT / link.removeprefix(prefix).partition("#")[0]).is_file(), link
    pages = {page.stem for page in PAGES[2:]} - {"index"}
    assert pages == set(re.findall(r"\| \[.*?\]\(\S*/docs/(\w+)\.md\)", text))


def test_links_of_the_docs_lead_to_files() -> None:
    home = PROJECT["urls"]["Repository"]
    for page in PAGES[1:]:
        for link in re.findall(r"\]\((.*?)\)", page.read_text(encoding="utf8")):
            ours = re.match(rf"{home}/(?:blob|tree)/main/(.*)", link)
            if ours or not link.startswith("https://"):
                assert (ROOT / ours[1] if ours else page.parent / link.split("#")[0]).exists(), f"{page.name}: {link}"


def parse_command(words: list[str]) -> str:
    """Parse one command line by the parser of what it runs; the name of that. Refuses what it does not know."""
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        return "make"
    if words[:2] == ["pip", "install"]:
        (target,) = [word for word in words[2:] if not word.startswith("-")]
        wanted = re.fullmatch(r"\.(?:\[(.*)\])?", target)
        assert wanted and set((wanted[1] or "").split(",")) <= {"", *PROJECT["optional-dependencies"]}, target
        return "pip"
    if words[:2] == ["accelerate", "launch"]:
        return parse_launch(words[2:])
    if words[0] == "hf-squareloss":
        args, shared = parse(words[1:])
        if args.command in ("train", "evaluate", "demo"):
            parse_script(f"run_{args.task}", args.options)
        elif args.command == "compare" and not (args.script or "").startswith("my_"):
            parse_script(Path(args.script or "run_glue.py").stem, shared)
        return f"hf-squareloss {args.command}"
    if words[0] == "python" and words[1] == "examples/speechbrain/train.py":
        known = (ROOT / words[2]).read_text()
        assert all(f"\n{word[2:]}:" in known for word in words[3:] if word.startswith("--")), words
        return "speechbrain"
    if words[0] == "python" and words[1] == "benchmarks/run_all.py":
        given = {word[2:] for word in words[2:] if word.startswith("--")}
        assert given <= {"rounds", "threads", "output", "quick", *importlib.import_module("run_glue_stages").OPTIONS}
        return "run_all"
    if words[0] == ".venv/bin/pytest":
        file, _, function = words[1].partition("::")
        assert (ROOT / file).exists() and (not function or f"\ndef {function}(" in (ROOT / file).read_text()), words
        return "pytest"
    raise AssertionError(f"no parser is known for {' '.join(words)}")


def parse_launch(words: list[str]) -> str:
    place = next(i for i, word in enumerate(words) if word.startswith("examples/"))
    parsed = launch_command_parser().parse_args([*words[:place], "script.py"])
    assert parsed.training_script == "script.py" and (ROOT / words[place]).is_file()
    parse_script(Path(words[place]).stem, words[place + 1 :])
    return Path(words[place]).stem


def parse_script(name: str, options: list[str]) -> None:
    module = load_example(name)
    if name.endswith("_no_trainer"):
        module.parse(options)
        return
    arguments = vars(module).get("TrainingArguments", SquareLossTrainingArguments)
    own = [word for word in options if word != "--push_to_hub"]  # which asks the Hub at once
    parse_arguments((module.ModelArguments, module.DataArguments, arguments), [*own, "--use_cpu", "--output_dir", "x"])


def test_command_lines_parse() -> None:
    seen = [parse_command(words) for words in commands()]
    assert seen.count("run_glue") >= 8 and seen.count("make") >= 4
    assert {"run_speech_recognition_ctc", "run_speech_recognition_seq2seq", "run_glue_no_trainer"} <= set(seen)
    assert {"run_image_classification", "run_image_classification_no_trainer", "run_audio_classification"} <= set(seen)
    assert {"hf-squareloss compare", "hf-squareloss report", "speechbrain", "run_all", "pip"} <= set(seen)


def test_the_study_file_of_the_docs_is_one(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs/comparing.md", "yaml")
    (tmp_path / "study.yaml").write_text(block.code)
    assert read_study(tmp_path / "study.yaml").size == 8 * 5 * (2 * 2 + 3)


@pytest.mark.parametrize(
    "line",
    [
        "make no_such_target",
        "pip install .[no_such_extra]",
        "accelerate launch examples/run_glue.py --no_such_option 1",
        "accelerate launch --no_such_option 1 examples/run_glue.py",
        "accelerate launch examples/run_glue.py --loss no_such_loss",
        "hf-squareloss compare data.csv --no_such_option 1",
        "hf-squareloss compare data.csv -- --no_such_option 1",
        "hf-squareloss train no_such_task",
        "python examples/speechbrain/train.py examples/speechbrain/hparams/train.yaml --no_such_option 1",
        "python benchmarks/run_all.py --no_such_option 1",
        ".venv/bin/pytest tests/test_documentation.py::test_no_such_test",
        "no_such_command",
    ],
)
def test_a_wrong_command_line_is_noticed(line: str) -> None:
    with pytest.raises((SystemExit, ValueError, AssertionError)):
        parse_command(line.split())


def test_continuous_integration_runs_the_same_targets() -> None:
    targets = re.findall(r"^make (\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    jobs: Any = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["make"]["strategy"]["matrix"]["target"] == targets
    for target in targets:
        assert parse_command(["make", target]) == "make"


def messages() -> str:
    """All text that the package and the examples can print, with {} for values."""
    texts = []
    for path in [*(ROOT / "hf_squareloss").rglob("*.py"), *(ROOT / "examples").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_quoted_messages_are_the_packages_own() -> None:
    page = (ROOT / "docs/limits.md").read_text(encoding="utf8")
    quoted = re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE)
    assert len(quoted) > 30
    there = messages()
    assert [message for message in quoted if message not in there] == []
    assert "no such message of ours" not in messages()


def test_what_the_readme_says_of_the_losses_is_true_of_the_results() -> None:
    """Of earlier comparisons. Speech: the square loss's mean is lower; intervals hold zero, as those of texts do."""
    speech = texts = 0
    beside: Any = importlib.import_module("render_results").BESIDE
    for path in (path for path in (ROOT / "model_cards").glob("*/results.json") if path.parent.name not in beside):
        for problem in analyse(read_results(path)).problems:
            ours = next((c for c in problem.comparisons if c.contender.label == "square"), None)
            if ours is None:
                continue
            assert ours.outcome in ("tie", None), f"{path.parent.name}: say so"
            if not problem.problem.greater_is_better:
                speech += 1
                assert ours.tuned.mean is not None and ours.tuned.mean > 0, f"{path.parent.name}: say so"
            else:
                texts += 1
    assert speech > 1 and texts > 1


def test_what_the_readme_says_of_language_models_is_true_of_the_results() -> None:
    """In equal time: more right words at a higher perplexity; with an end in cross-entropy ahead in both; one set."""
    render: Any = importlib.import_module("render_language")
    results = json.loads((ROOT / "benchmarks/large_vocabulary.json").read_text(encoding="utf8"))
    assert {tuple(render.budget_of(run)) for run in results["runs"]} == {("equal_time", 200)}, "say so"
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for name in ("cross_entropy", "square", "square@0,cross_entropy@0.7"):
        chosen = render.of_chosen_rate(render.of_method(results["runs"], name))
        found[name] = {run["key"]["seed"]: (run["test"]["accuracy"], run["test"]["calibrated"]) for run in chosen}
    before = found["cross_entropy"]
    assert len(before) == len(found["square"]) == 5
    for seed, (accuracy, perplexity) in found["square"].items():
        assert accuracy > before[seed][0] and perplexity > before[seed][1], "say so"
    for seed, (accuracy, perplexity) in found["square@0,cross_entropy@0.7"].items():
        assert accuracy > before[seed][0] and perplexity < before[seed][1], "say so"
    assert results["step_ratios"]["square"] < 0.4


def test_the_reference_names_every_public_room() -> None:
    named = set(re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(encoding="utf8"), re.MULTILINE))
    public = {
        f"hf_squareloss.{path.relative_to(ROOT / 'hf_squareloss').with_suffix('').as_posix().replace('/', '.')}"
        for path in (ROOT / "hf_squareloss").rglob("[a-z]*.py")
        if "recipes" not in path.parts
    }
    public |= {f"hf_squareloss.{path.parent.name}" for path in (ROOT / "hf_squareloss").glob("*/_[a-z]*.py")}
    assert named == public
