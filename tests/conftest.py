"""No test touches the network or the user's caches: set before anything imports transformers or datasets."""

import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf_squareloss_tests_")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path += [str(EXAMPLES), str(EXAMPLES / "benchmarks")]  # scripts import their neighbours by name

import torch  # noqa: E402

torch.set_num_threads(1)
