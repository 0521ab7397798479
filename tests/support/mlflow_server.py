"""MLflow's server in a warm process, which becomes what `mlflow server WORD ...` would start as another one."""

from __future__ import annotations

import os
import runpy
import sys
from unittest.mock import patch


def main(words: list[str]) -> None:
    from mlflow import server
    from mlflow.cli import cli

    os.setsid()  # a group of its own, as that of a server that is started cold

    def serve(command: list[str], *, extra_env: dict[str, str], **_: object) -> None:
        os.environ.update(extra_env)
        sys.argv = command[2:]  # behind `python -m`
        runpy.run_module("uvicorn", run_name="__main__")

    with patch.object(server, "_exec_cmd", serve):
        cli(["server", *words])
