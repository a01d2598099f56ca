"""The page of a study: whole, self-contained, and as tame as its names are wild."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from studies import a_run, grid_study, made_up_study, whole_study

from hf_squareloss.comparison import SCHEMA, RunRecord, read_results, report, results_of, write_results, write_run

VOID = {"meta", "br", "hr", "link", "img", "input"}


class Page(HTMLParser):
    """Which elements a page has, whether they are closed in order, and what they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.identities: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.identities += [value or "" for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def made(folder: Path, runs: list[RunRecord]) -> str:
    for run in runs:
        write_run(folder, run)
    path = report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("whole"), whole_study())


def test_the_page_is_whole_and_points_nowhere_else(whole: str) -> None:
    page = Page(whole)
    assert page.open == [] and "script" not in page.seen and "img" not in page.seen
    assert all(link.startswith("#") and link[1:] in page.identities for link in page.links) and len(page.links) == 10
    assert "http" not in whole and "url(" not in whole and "@import" not in whole


def test_verdict_first_then_warnings_then_figures(whole: str) -> None:
    places = [
        whole.index(part)
        for part in ('class="verdict tie"', 'class="warnings"', "At a glance", "Over all tasks", "Every run</h2>")
    ]
    assert places == sorted(places)
    # Seeds and curves of 8 problems, reliability of all but speech, and two pictures over the tasks.
    assert whole.count("<figure>") == 8 * 2 + 7 + 2
    assert "&lt;b&gt;not bold&lt;/b&gt;" in whole and "<b>" not in whole


def test_the_same_runs_make_the_same_page(whole: str, tmp_path: Path) -> None:
    assert made(tmp_path, list(reversed(whole_study()))) == whole


def test_markdown_and_results_lie_beside_it(tmp_path: Path) -> None:
    made(tmp_path, made_up_study())
    assert (
        (tmp_path / "report.md")
        .read_text(encoding="utf8")
        .startswith("# A made-up study\n\n**On mrpc, square is better")
    )
    assert read_results(tmp_path / "results.json").runs == read_results(tmp_path).runs
    content = json.loads((tmp_path / "results.json").read_text())
    assert set(content) == set(SCHEMA["properties"])


def test_a_file_alone_and_another_baseline(tmp_path: Path) -> None:
    path = write_results(
        tmp_path / "results.json", results_of(made_up_study(), title="t", settings={"command": "run me"})
    )
    before = path.read_text()
    page = report(path, baseline="squentropy").read_text(encoding="utf8")
    assert "difference to squentropy" in page and "<pre>run me</pre>" in page
    assert path.read_text() == before
    with pytest.raises(ValueError, match="no run has the label 'hinge'"):
        report(path, baseline="hinge")


def test_a_grid_has_a_heat_map(tmp_path: Path) -> None:
    page = made(tmp_path, grid_study())
    assert "k and M of square" in page and "(the first 6 losses)" in page and Page(page).open == []


@pytest.mark.parametrize(
    "runs",
    [
        [a_run()],
        [a_run(status="failed", epochs=[], error="killed")],
        [a_run(loss=loss, status="diverged", epochs=[]) for loss in ("square", "cross_entropy")],
        [a_run(loss=loss, seed=s) for loss in ("square", "cross_entropy") for s in range(3)],
        [a_run(loss="cross_entropy"), a_run(task="another")],
    ],
    ids=["one loss", "failed", "diverged", "no variance", "no baseline"],
)
def test_poor_studies_have_a_page(tmp_path: Path, runs: list[RunRecord]) -> None:
    assert Page(made(tmp_path, runs)).open == []


def test_wild_names_are_shown_as_they_are(tmp_path: Path) -> None:
    name = "<script>alert('x')</script> \"&\" {{ 7 * 7 }} |"
    runs = [a_run(task=name, model=name, label=name, study=name), a_run(task=name, model=name, loss="cross_entropy")]
    page = made(tmp_path, runs)
    assert "script" not in Page(page).seen and "{{ 7 * 7 }}" in page and "<script" not in page


def test_old_results_have_a_page(tmp_path: Path) -> None:
    card = Path(__file__).parents[2] / "model_cards/mrpc-minilm-l3/results.json"
    (tmp_path / "results.json").write_text(card.read_text(encoding="utf8"))
    page = report(tmp_path).read_text(encoding="utf8")
    assert "MRPC, 3-layer encoder" in page and re.search(r'class="verdict tie">square and cross_entropy cannot', page)


def test_nothing_is_written_where_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no runs yet"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_several_studies_make_one_page_with_figures_over_all_of_their_tasks(tmp_path: Path) -> None:
    folders = []
    for task, advantage in (("first", 2.0), ("second", 1.0)):
        folders.append(tmp_path / task)
        made(folders[-1], made_up_study({task: advantage}, seeds=3))
    with pytest.raises(ValueError, match="give output_dir"):
        report(*folders)
    page = report(*folders, folders[0], output_dir=tmp_path / "both", title="Both of them")
    assert page == tmp_path / "both/report.html" and "<h1>Both of them</h1>" in page.read_text(encoding="utf8")
    whole = read_results(tmp_path / "both/results.json")
    assert whole.runs == [run for folder in folders for run in read_results(folder).runs]  # each run once
    both, one = (tmp_path / "both/report.md", folders[0] / "report.md")
    assert "2 tasks" in both.read_text(encoding="utf8") and "tasks" not in one.read_text(encoding="utf8")
