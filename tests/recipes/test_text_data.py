"""Files and Hub-shaped data sets arrive as text, text_pair and label; what does not fit is refused by name."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.text_data import (
    GLUE_TASKS,
    _make,
    from_dataset_dict,
    load_files,
    load_glue,
    load_named,
)

COLUMNS = {"text": "text", "label": "label"}
ROWS = {
    "csv": "text,label\none two,x\nthree,y\n",
    "tsv": "text\tlabel\none two\tx\nthree\ty\n",
    "json": '[{"text": "one two", "label": "x"}, {"text": "three", "label": "y"}]',
    "jsonl": '{"text": "one two", "label": "x"}\n{"text": "three", "label": "y"}\n',
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., ClassificationData]:
    """Write each split's content into a file and load the files."""

    def write_and_load(kind: str = "csv", columns: dict[str, str] = COLUMNS, **contents: str) -> ClassificationData:
        files = {split: tmp_path / f"{split}.{kind}" for split in contents}
        for split, file in files.items():
            file.write_text(contents[split], encoding="utf8")
        return load_files({split: str(file) for split, file in files.items()}, columns)

    return write_and_load


def rows(data: ClassificationData, split: str = "train") -> dict[str, list[Any]]:
    return {column: list(data.splits[split][column]) for column in data.splits[split].column_names}


# ---- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_of_file(load: Callable[..., ClassificationData], kind: str) -> None:
    data = load(kind, train=ROWS[kind], validation=ROWS[kind])
    assert set(data.splits) == {"train", "validation"}
    assert rows(data) == rows(data, "validation") == {"text": ["one two", "three"], "label": [0, 1]}
    assert data.label_names == ["x", "y"]
    assert data.num_labels == 2
    assert data.metrics == ("accuracy", "f1")


def test_named_columns_replace_columns_of_our_names(load: Callable[..., ClassificationData]) -> None:
    columns = {"text": "sentence", "text_pair": "reply", "label": "text"}
    data = load(columns=columns, train="text,sentence,reply,label\nx,one,two,9\ny,three,four,9\n")
    assert rows(data) == {"text": ["one", "three"], "text_pair": ["two", "four"], "label": [0, 1]}


def test_a_text_pair_is_found_by_itself(load: Callable[..., ClassificationData]) -> None:
    pairs = "text,text_pair,label\none,two,x\nthree,four,y\n"
    assert rows(load(train=pairs))["text_pair"] == ["two", "four"]
    assert "text_pair" not in rows(load(train=ROWS["csv"]))
    with pytest.raises(ValueError, match="validation split has no column 'text_pair'"):
        load(train=pairs, validation=ROWS["csv"])


def test_na_and_null_are_words(load: Callable[..., ClassificationData]) -> None:
    assert rows(load(train="text,label\nNA,null\nnan,NA\n")) == {"text": ["NA", "nan"], "label": [1, 0]}


def test_stray_quotes_in_tsv_and_quoted_csv(load: Callable[..., ClassificationData]) -> None:
    assert rows(load("tsv", train='text\tlabel\na " b\t1\n"c\t0\n'))["text"] == ['a " b', '"c']
    assert rows(load("csv", train='text,label\n"a, ""b""",1\nc,0\n'))["text"] == ['a, "b"', "c"]


def test_a_column_of_numbers_is_text(load: Callable[..., ClassificationData]) -> None:
    assert rows(load(train="text,label\n10,x\n20,y\n"))["text"] == ["10", "20"]


@pytest.mark.parametrize(
    ("kind", "content", "expected", "names"),
    [
        ("csv", "text,label\n00017,x\n1.10,y\n", ["00017", "1.10"], ["x", "y"]),
        ("csv", "text,label\ngood,01\nbad,1\n", ["good", "bad"], ["01", "1"]),
        (
            "jsonl",
            '{"text": "2024-01-05", "label": "a"}\n{"text": 1.10, "label": "b"}',
            ["2024-01-05", "1.10"],
            ["a", "b"],
        ),
        ("jsonl", '{"text": "a", "label": "x", "n": {}}\n{"text": "b", "label": "y", "n": 3}', ["a", "b"], ["x", "y"]),
        ("csv", "\ufefftext,label\na,x\nb,y\n", ["a", "b"], ["x", "y"]),
        ("tsv.gz", "text\tlabel\na\tx\nb\ty\n", ["a", "b"], ["x", "y"]),
    ],
)
def test_texts_and_labels_are_what_the_file_says(
    kind: str, content: str, expected: list[str], names: list[str], tmp_path: Path
) -> None:
    file = tmp_path / f"train.{kind}"
    file.write_bytes(gzip.compress(content.encode()) if kind.endswith("gz") else content.encode())
    data = load_files({"train": str(file)}, COLUMNS)
    assert (rows(data)["text"], data.label_names) == (expected, names)


def test_a_late_word_among_numbers(load: Callable[..., ClassificationData]) -> None:
    many = [f"{i},{i % 2}" for i in range(10_000)]
    data = load(train="\n".join(["text,label", *many, "word,unknown"]))
    assert data.label_names == ["0", "1", "unknown"] and rows(data)["text"][-2:] == ["9999", "word"]
    with pytest.raises(ValueError, match="empty label in row 10001"):
        load(train="\n".join(["text,label", *many, "word,"]))
    values = load(train="\n".join(["text,label", *(f"{i},0" for i in range(10_000)), "word,0.4"]))
    assert values.label_names is None and rows(values)["label"][-1] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="real value, but 'nan' in row 2 is no number"):
        load(train="text,label\na,1.5\nb,nan\n")


def test_several_labels_in_files(load: Callable[..., ClassificationData], tmp_path: Path) -> None:
    lists = load("jsonl", train='{"text": "a", "label": ["y", "x"]}\n{"text": "b", "label": []}\n')
    columns = load(columns={"text": "text", "label": "x,y"}, train="text,x,y\na,1,1\nb,0,0\n")
    (tmp_path / "words.csv").write_text("text,label\na,x y\nb,\n")
    words = load_files({"train": str(tmp_path / "words.csv")}, COLUMNS, label_separator=" ")
    for data in (lists, columns, words):
        assert (data.label_names, data.multi_label, rows(data)["label"]) == (["x", "y"], True, [[1, 1], [0, 0]])


def test_a_text_that_is_no_text_is_refused(load: Callable[..., ClassificationData]) -> None:
    for value in ('["a", "b"]', '{"a": "b"}'):
        with pytest.raises(ValueError, match="train split, row 2: text must be text"):
            load("jsonl", train=f'{{"text": "a", "label": 0}}\n{{"text": {value}, "label": 1}}')


def test_integer_labels_are_in_the_order_of_numbers(load: Callable[..., ClassificationData]) -> None:
    data = load(train="text,label\na,10\nb,9\nc,-1\n", validation="text,label\nd,9\n")
    assert data.label_names == ["-1", "9", "10"]
    assert rows(data)["label"] == [2, 1, 0]
    assert rows(data, "validation")["label"] == [1]


def test_labels_are_the_same_classes_as_numbers_and_as_words(load: Callable[..., ClassificationData]) -> None:
    train = '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n'
    data = load("jsonl", train=train, validation='{"text": "c", "label": "1"}\n')
    assert rows(data, "validation")["label"] == [1]


def test_real_values_are_regression(load: Callable[..., ClassificationData]) -> None:
    data = load(train="text,label\na,1.5\nb,-0.25\n", validation="text,label\nc,2\n")
    assert data.label_names is None
    assert data.num_labels == 1
    assert data.metrics == ("pearson", "spearmanr", "mse")
    assert rows(data)["label"] == [1.5, -0.25]
    assert rows(data, "validation")["label"] == [2.0]
    assert data.splits["validation"].features["label"] == Value("float32")


@pytest.mark.parametrize("content", ["text\none\ntwo\n", "text,label\none,\ntwo,\n", "text,label\none,-1\ntwo,-1\n"])
def test_test_labels_may_be_hidden(load: Callable[..., ClassificationData], content: str) -> None:
    data = load(train=ROWS["csv"], test=content)
    assert rows(data, "test") == {"text": ["one", "two"]}
    with pytest.raises(ValueError, match="validation split has"):  # only a test split's
        load(train=ROWS["csv"], validation=content)


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_file_is_refused(load: Callable[..., ClassificationData], kind: str, split: str) -> None:
    with pytest.raises(ValueError, match=f"{split} split is empty"):
        load(kind, **{"train": ROWS[kind], split: ""})


@pytest.mark.parametrize(("kind", "content"), [("csv", "text,label\n"), ("tsv", "text\tlabel\n\n"), ("json", "[]")])
def test_a_file_without_rows_is_refused(load: Callable[..., ClassificationData], kind: str, content: str) -> None:
    with pytest.raises(ValueError, match="validation .*(is empty|no data)"):
        load(kind, train=ROWS[kind], validation=content)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"train": "sentence,label\na,x\nb,y\n"}, "train split has no column 'text'; it has sentence, label"),
        ({"train": "text,class\na,x\nb,y\n"}, "train split has no column 'label'"),
        ({"train": ROWS["csv"], "validation": "text\na\n"}, "validation split has no column 'label'"),
        ({"train": ROWS["csv"], "validation": "text,label\na,z\n"}, "validation .* do not have: z; known are x, y"),
        ({"train": ROWS["csv"], "test": "text,label\na,x\nb,z\n"}, "test .* do not have: z"),
        ({"train": "text,label\na,x\nb,\n"}, "train split has an empty label"),
        ({"train": "text,label\na,1\nb,\nc,2\n"}, "train split has an empty label"),
        ({"train": "text,label\na,1.5\nb,\n"}, "train split has an empty label"),
        ({"train": "text,label\na,x\nb,\n"}, "train split has an empty label in row 2"),
        ({"train": "text,label\na,x\nb\n"}, "train file .* line 3 has 1"),
        ({"train": ROWS["csv"], "validation": "text,label\na,\nb,x\n"}, "validation split has an empty label"),
        ({"train": ROWS["csv"], "test": "text,label\na,\nb,x\n"}, "test split has an empty label"),
        ({"train": "text,label\na,1.5\nb,2.5\n", "validation": "text,label\na,x\n"}, "validation split has x"),
        ({"train": "text,label\na,0.0\nb,1.0\n"}, "integers or words"),
        ({"train": "text,label\na,x\nb,y,z\n"}, "train file .* line 3 has 3"),
    ],
)
def test_what_does_not_fit_is_refused(
    load: Callable[..., ClassificationData], contents: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load("csv", **contents)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b", "label": null}\n', "empty label"),
        ('{"text": "a", "label": 1}\n{"text": null, "label": 0}\n', "empty text"),
        ('{"text": "a", "label": 1}\n{"text":\n', "cannot be read"),
    ],
)
def test_broken_json_is_refused(load: Callable[..., ClassificationData], content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load("jsonl", train=content)


def test_unknown_kinds_and_missing_files(load: Callable[..., ClassificationData], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.csv, \.tsv, \.json, \.jsonl, \.parquet"):
        load("xlsx", train="")
    with pytest.raises(ValueError, match=r"validation file .*nowhere\.csv does not exist"):
        load_files({"validation": str(tmp_path / "nowhere.csv")}, COLUMNS)


# ---- data sets of the Hub --------------------------------------------------------------------------------------------
def glue(task: str) -> dict[str, Dataset]:
    """Splits with the columns and features of nyu-mll/glue; the test labels are hidden, except in MRPC."""
    names = {"mnli": ["entailment", "neutral", "contradiction"]}.get(task, ["no", "yes"])
    label = Value("float32") if task == "stsb" else ClassLabel(names=names)
    columns = GLUE_TASKS[task].columns
    features = Features({**dict.fromkeys(columns, Value("string")), "label": label, "idx": Value("int32")})
    labels: dict[str, Any] = {"train": [0, 1, 1], "test": [-1, -1, -1]}
    if task == "stsb":
        labels = {"train": [5.0, 3.25, 0.0], "test": [-1.0, -1.0, -1.0]}
    if task == "mrpc":
        labels["test"] = [1, 0, 1]
    splits = ["train"]
    for split in ("validation", "test"):
        splits += [split + suffix for suffix in (("_matched", "_mismatched") if task == "mnli" else ("",))]
    texts = {column: [f"{column} {i}" for i in range(3)] for column in columns}
    return {
        split: Dataset.from_dict(
            {**texts, "label": labels["test" if split.startswith("test") else "train"], "idx": [0, 1, 2]},
            features=features,
        )
        for split in splits
    }


@pytest.mark.parametrize("task", GLUE_TASKS)
def test_glue_tasks(task: str) -> None:
    spec, raw = GLUE_TASKS[task], glue(task)
    splits = {"train": raw["train"]}
    for split in ("validation", "test"):
        for suffix, ours in zip(spec.suffixes, (split, f"{split}_mm"), strict=False):
            splits[ours] = raw[split + suffix]
    columns = dict(zip(("text", "text_pair"), spec.columns, strict=False)) | {"label": "label"}
    data = _make(splits, columns, spec.metrics)

    both = ["text", "text_pair"] if len(spec.columns) == 2 else ["text"]
    assert data.splits["train"].column_names == [*both, "label"]
    assert data.splits["test"].column_names == ([*both, "label"] if task == "mrpc" else both)
    assert rows(data)["text"] == [f"{spec.columns[0]} {i}" for i in range(3)]
    assert rows(data)["label"] == ([5.0, 3.25, 0.0] if task == "stsb" else [0, 1, 1])
    assert data.num_labels == {"mnli": 3, "stsb": 1}.get(task, 2)
    expected = {"train", "validation", "test"} | ({"validation_mm", "test_mm"} if task == "mnli" else set())
    assert set(data.splits) == expected
    assert data.metrics == spec.metrics


def test_names_are_refused_before_any_download() -> None:
    with pytest.raises(ValueError, match=r"no GLUE task is called 'ax': there are cola"):
        load_glue("ax")


def test_a_saved_data_set_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("sentence,kind\none,x\ntwo,y\n")
    data = load_named(str(folder), None, {"text": "sentence", "label": "kind"})
    assert set(data.splits) == {"train", "test"}
    assert rows(data) == {"text": ["one", "two"], "label": [0, 1]}


def test_splits_of_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "data").mkdir(parents=True)
    for split in ("dev", "other"):
        (folder / f"{split}.csv").write_text(f"text,label\n{split},x\ntwo,y\n")
    files = "\n".join(f"  - split: {split}\n    path: {split}.csv" for split in ("dev", "other"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n")
    names = {"train": "other", "validation": "dev[:50%]", "test": None}
    data = load_named(str(folder), None, COLUMNS, split_names=names)
    assert {name: list(split["text"]) for name, split in data.splits.items()} == {
        "train": ["other", "two"],
        "validation": ["dev"],
    }
    with pytest.raises(ValueError, match="none of the splits train, validation and test but dev, other: .*split_name"):
        load_named(str(folder), None, COLUMNS)
    with pytest.raises(ValueError, match="nowhere"):
        load_named(str(folder), None, COLUMNS, split_names={"train": "nowhere"})


def test_a_data_set_without_our_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the splits"):
        _make({}, COLUMNS)


def test_labels_without_a_name_are_refused() -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["x", "y"])})
    good = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    unlabelled = Dataset.from_dict({"text": ["a", "b"], "label": [0, -1]}, features=features)
    assert from_dataset_dict(DatasetDict({"train": good})).label_names == ["x", "y"]
    with pytest.raises(ValueError, match="validation split has labels outside 0 to 1: -1"):
        from_dataset_dict(DatasetDict({"train": good, "validation": unlabelled}))
