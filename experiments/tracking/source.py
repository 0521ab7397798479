"""Where a run was computed, and from which code: host, processor, commit, versions."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from experiments.config import Environment
from experiments.precision import Gpu, native_bfloat16

RECORDED_PACKAGES = ("tensorflow", "keras", "coremltools", "mlflow", "optuna", "numpy")


@cache
def git_commit() -> str:
    """Commit of the checkout that holds this code, or `unknown` where it is installed outside of one."""
    here = Path(__file__)
    commit = ""
    try:
        for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
            commit = done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or somebody else's
        return "unknown"
    return commit


def environment(threads: int, gpu: Gpu | None) -> Environment:
    """Where a run computes, for its record."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:  # not Linux
        pass
    return Environment(platform.node(), processor, threads, native_bfloat16(gpu), gpu.name if gpu else None)


def versions(packages: tuple[str, ...] = RECORDED_PACKAGES) -> dict[str, str]:
    """Versions of Python and of packages, by default of those that decide a result."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an equivalent under another name, such as tensorflow-cpu
            continue
    return found


def source_tags() -> dict[str, str]:
    """Tags of every run: who, with which code and packages."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        user = "unknown"
    tags = {"mlflow.user": user, "mlflow.source.name": "pocketnets", "mlflow.source.type": "LOCAL"}
    if (commit := git_commit()) != "unknown":
        tags["mlflow.source.git.commit"] = commit
    return tags | {f"version.{package}": number for package, number in versions().items()}
