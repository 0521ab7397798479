"""Where pytest begins: what its processes share, and the fixtures of `tests/support/fixtures.py` where tests run."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest

# Several processes share the cores: threads that wait for each other took a quarter of the processor time. What a sweep
# or a trial gives its workers is set by them.
for _library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_library, "1")

# Images of containers often turn this off, and each of many processes would compile all modules, and each of pytest's
# rewrite all tests, anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest.register_assert_rewrite("tests.support")  # before any of it is imported: failures there show values, too

from tests.support.warm import start_server, use_server  # noqa: E402  # which takes the environment along

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would its children


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let all of xdist's processes fork from one server: each of its own would import everything anew."""
    config = node.config
    if not hasattr(config, "warm_server"):
        config.warm_server = start_server(config._tmp_path_factory.getbasetemp() / "warm.log")
    node.workerinput["warm_server"] = config.warm_server


def pytest_configure(config: Any) -> None:
    if address := getattr(config, "workerinput", {}).get("warm_server"):
        use_server(address)
    if not config.getoption("numprocesses", None):  # else it runs no test: the seconds of importing all are saved
        config.pluginmanager.import_plugin("tests.support.fixtures")


LONG = ("test_docs.py", "test_notebooks.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that none runs alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)
