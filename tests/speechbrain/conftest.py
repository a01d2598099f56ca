"""These tests have an environment of their own (`make test-speechbrain`): elsewhere they are not collected."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "speechbrain"))
try:
    importlib.metadata.version("speechbrain")
except importlib.metadata.PackageNotFoundError:
    collect_ignore_glob = ["test_*.py"]
