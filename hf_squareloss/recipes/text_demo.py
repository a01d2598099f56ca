"""The built-in text demo: tell the topic of a Python module from one of its docstrings."""

import ast
import random
import re
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import DatasetDict

# Modules and packages of the standard library by topic; those that a Python release does not have are passed over.
# Left out: idlelib and pydoc, which speak of every topic, and encodings, one sentence a hundred times.
TOPICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "collections": (
            *("collections", "_collections_abc", "enum", "typing", "functools", "dataclasses", "contextlib", "weakref"),
            *("heapq", "bisect", "operator", "copy", "copyreg", "types", "abc", "_py_abc", "_weakrefset", "graphlib"),
        ),
        "concurrency": (
            *("asyncio", "multiprocessing", "threading", "concurrent", "queue", "sched", "subprocess", "contextvars"),
            *("_threading_local", "asyncore", "asynchat"),
        ),
        "dates": ("datetime", "_pydatetime", "calendar", "zoneinfo", "_strptime"),
        "debugging": (
            *("pdb", "bdb", "traceback", "trace", "cProfile", "profile", "pstats", "timeit", "tracemalloc", "cgitb"),
            *("faulthandler", "linecache"),
        ),
        "email": ("email", "mailbox", "smtplib", "smtpd", "imaplib", "poplib", "mailcap", "quopri", "mimetypes"),
        "files": (
            *("tarfile", "zipfile", "gzip", "bz2", "lzma", "_compression", "pathlib", "shutil", "tempfile", "_pyio"),
            *("os", "posixpath", "ntpath", "genericpath", "stat", "glob", "fnmatch", "filecmp", "fileinput", "dbm"),
            *("shelve", "pickle", "compression"),
        ),
        "graphics": ("tkinter", "turtle", "turtledemo", "curses", "colorsys"),
        "logging": ("logging",),
        "markup": ("xml", "html", "json", "configparser", "csv", "plistlib", "tomllib", "_markupbase"),
        "mathematics": ("_pydecimal", "decimal", "fractions", "numbers", "statistics", "random", "_pylong"),
        "network": (
            *("http", "urllib", "wsgiref", "xmlrpc", "socket", "socketserver", "ssl", "ftplib", "telnetlib", "nntplib"),
            *("ipaddress", "cgi", "webbrowser", "selectors", "netrc", "hmac", "uuid"),
        ),
        "packaging": (
            *("importlib", "distutils", "pkgutil", "zipimport", "zipapp", "runpy", "modulefinder", "imp", "venv"),
            *("ensurepip", "site", "sysconfig", "_aix_support", "_osx_support", "compileall", "py_compile"),
        ),
        "source code": (
            *("ast", "_ast_unparse", "inspect", "symtable", "dis", "opcode", "lib2to3", "tokenize", "token", "pyclbr"),
            *("tabnanny", "code", "codeop", "pickletools", "annotationlib"),
        ),
        "testing": ("unittest", "doctest"),
        "text": (
            *("codecs", "re", "sre_parse", "sre_compile", "difflib", "textwrap", "string", "locale", "gettext"),
            *("pprint", "reprlib", "shlex", "argparse", "optparse", "getopt", "cmd", "stringprep"),
        ),
    }
)
_MIN_CHARACTERS = 30  # below: "Return the name." belongs to every topic
_MAX_PER_TOPIC = 300  # no topic is larger than 8 %, and the demo trains in minutes on two cores
_MAX_WORDS = 40  # the opening says it; the rest is parameters, and slow to train on

# The better of two settings on the validation split; max_seq_length is for the tokenizer, the rest TrainingArguments.
DEMO_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "learning_rate": 3e-4,
        "num_train_epochs": 3,
        "per_device_eval_batch_size": 64,
        "train_sampling_strategy": "group_by_length",
        "per_device_train_batch_size": 32,
        "warmup_steps": 0.1,
        "max_seq_length": 40,
    }
)


def docstring_topics(seed: int = 0) -> "DatasetDict":
    """Docstrings of the running Python's standard library, labelled with the topic of their module.

    The sources are parsed, never imported. Splits train, validation and test hold 50, 10 and 40 % of every topic;
    columns are `text` (the first 40 words) and `label` (a `ClassLabel` with the topic names). No two texts are the same
    after removing case, digits, punctuation and space. The result depends on the Python release and on `seed` alone.

    Raises FileNotFoundError where the standard library comes without its sources.

    Example: `docstring_topics()["test"].features["label"].names`
    """
    return _split(_read_docstrings(Path(sysconfig.get_path("stdlib"))), seed)


def tfidf_baseline(data: "DatasetDict") -> float:
    """Test accuracy of logistic regression on TF-IDF features of words and word pairs.

    Fitted on `data["train"]`, with the regularisation that does best on `data["validation"]`.

    Example: `tfidf_baseline(docstring_topics())`
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    vectorizer.fit(data["train"]["text"])
    features = {split: vectorizer.transform(rows["text"]) for split, rows in data.items()}
    labels = {split: list(rows["label"]) for split, rows in data.items()}
    models = [LogisticRegression(C=c, max_iter=1000).fit(features["train"], labels["train"]) for c in (3.0, 10.0, 30.0)]
    best = max(models, key=lambda model: model.score(features["validation"], labels["validation"]))
    return float(best.score(features["test"], labels["test"]))


@cache
def _read_docstrings(root: Path) -> tuple[tuple[str, str], ...]:
    """(text, topic) of every distinct docstring below `root`, a standard library; in a fixed order."""
    found: dict[str, tuple[str, str]] = {}
    for topic, modules in TOPICS.items():
        for path in (path for module in modules for path in _sources(root, module)):
            for docstring in docstrings(path):
                text = " ".join(docstring.split()[:_MAX_WORDS])
                if len(text) >= _MIN_CHARACTERS:
                    found.setdefault(_fingerprint(text), (text, topic))
    if not found:
        raise FileNotFoundError(f"expected the sources of the standard library below {root}, found no docstring there")
    return tuple(found.values())


def _sources(root: Path, module: str) -> Iterator[Path]:
    """Source files of a module or a package below `root`, tests aside; none where it is missing."""
    if (root / f"{module}.py").is_file():
        yield root / f"{module}.py"
    for path in sorted((root / module).rglob("*.py")):
        if not {"test", "tests"} & set(path.relative_to(root).parts):
            yield path


def docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a source file, in the order of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's sources
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # written for another Python than the one that runs
            return
    nodes: list[ast.AST] = [tree]
    for node in nodes:  # ast.walk without the expressions, a fifth faster in all
        nodes.extend(child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def _fingerprint(text: str) -> str:
    """What is left of a text without case, digits, punctuation and space: the same for trivial variants."""
    return re.sub(r"[\W\d_]+", "", text.casefold())


def _split(pairs: tuple[tuple[str, str], ...], seed: int) -> "DatasetDict":
    """50 % train, 10 % validation and 40 % test of every topic: few labels, as one has, and a test set that tells."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    topics = sorted({topic for _, topic in pairs})
    features = Features({"text": Value("string"), "label": ClassLabel(names=topics)})
    by_topic: defaultdict[str, list[str]] = defaultdict(list)
    for text, topic in pairs:
        by_topic[topic].append(text)
    generator = random.Random(seed)
    splits: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "test": []}
    for label, topic in enumerate(topics):
        texts = generator.sample(by_topic[topic], min(_MAX_PER_TOPIC, len(by_topic[topic])))
        first, second = round(0.5 * len(texts)), round(0.6 * len(texts))
        for split, part in zip(splits, (texts[:first], texts[first:second], texts[second:]), strict=True):
            splits[split].extend((text, label) for text in part)
    for rows in splits.values():
        generator.shuffle(rows)
    return DatasetDict(
        {
            split: Dataset.from_dict({"text": [t for t, _ in rows], "label": [y for _, y in rows]}, features=features)
            for split, rows in splits.items()
        }
    )
