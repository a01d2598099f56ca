"""These tests have an environment of their own (`make test-timm`): elsewhere they are not collected."""

import importlib.metadata

try:
    importlib.metadata.version("timm")
except importlib.metadata.PackageNotFoundError:
    collect_ignore_glob = ["test_*.py"]
