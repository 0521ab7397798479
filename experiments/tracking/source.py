"""The origin of a run: host, processor, commit, plugins, versions."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from architectures.plugins import plugin_sha256
from architectures.quiet import RELIED_ON
from experiments.config import Environment
from experiments.training.precision import Gpu, native_bfloat16

RECORDED_PACKAGES = ("tensorflow", "keras", "coremltools", "mlflow", "optuna", "numpy")
PYTHON_ENV = "python_env.yaml"  # of the folder of an MLflow model
EQUIVALENTS = {"tensorflow": "tensorflow-cpu"}  # the same release as a smaller wheel, without CUDA
PLUGIN_GROUPS = ("architectures", "datasets", "optimizers", "losses")  # entry points whose packages are recorded, too
TRAINING_CODE = ("architectures", "experiments")  # packages that determine the result of a training
# Variables that change the bits that TensorFlow computes, recorded if they are set.
SETTINGS = (
    *("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "TF_XLA_FLAGS", "TF_DETERMINISTIC_OPS"),
    *("TF_SET_ONEDNN_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "NVIDIA_TF32_OVERRIDE"),
    *RELIED_ON,  # if a library had read it before it could be set
)


@cache
def git_commit() -> str:
    """Return the commit of this code's checkout, or `unknown` if it is installed outside of one."""
    here = Path(__file__)
    commit = ""
    try:
        for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
            commit = done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, or another project's
        return "unknown"
    return commit


@cache
def source_sha256() -> str:
    """Return the SHA-256 of the training code on disk, committed or not, so that two checkouts can be compared."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for file in sorted(file for floor in TRAINING_CODE for file in (root / floor).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@cache
def is_dirty() -> bool:
    """Return whether the training code differs from the commit; False outside of a checkout."""
    if git_commit() == "unknown":
        return False
    command = ["git", "status", "--porcelain", "--", *TRAINING_CODE]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip())


def environment(threads: int, gpu: Gpu | None = None, plugins: tuple[str, ...] = ()) -> Environment:
    """Return the environment of a run, for its record."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:  # not Linux
        pass
    return Environment(
        host=platform.node(),
        processor=processor,
        threads=threads,
        bfloat16=native_bfloat16(gpu),
        gpu=gpu.name if gpu else None,
        plugins=tuple((plugin, plugin_sha256(plugin)) for plugin in plugins),
        settings=_settings(),
    )


def _settings() -> tuple[tuple[str, str], ...]:
    """Return the variables that change the bits of a result here, without those at this project's own values."""
    found = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    return tuple((name, value) for name, value in found.items() if value != RELIED_ON.get(name, ("", None))[1])


def versions(packages: tuple[str, ...] = RECORDED_PACKAGES) -> dict[str, str]:
    """Return versions of Python and of packages, by default of those that determine a result."""
    found = {"python": platform.python_version()}
    for package in packages:
        for name in (package, EQUIVALENTS.get(package, package)):
            try:
                found[package] = version(name)
                break
            except PackageNotFoundError:
                continue
    return found


def write_environment(folder: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Write the files from which MLflow creates the environment of a model; return the versions in them."""
    found = versions(packages)
    requirements = "".join(f"{package}=={found[package]}\n" for package in packages if package in found)
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    environment = {"python": found["python"], "dependencies": ["-r requirements.txt"]}
    (folder / PYTHON_ENV).write_text(json.dumps(environment), encoding="utf-8")  # JSON is YAML
    return found


@cache
def installed_plugins() -> dict[str, str]:
    """Return the packages with architectures, data sets, optimizers or losses, and the SHA-256 of their code."""
    points = [point for group in PLUGIN_GROUPS for point in entry_points(group=group)]
    modules = sorted({(point.dist.name, point.module.partition(".")[0]) for point in points if point.dist})
    found: dict[str, str] = {}
    for package in {name for name, _ in modules}:
        digests = [digest for name, one in modules if name == package and (digest := plugin_sha256(one))]
        if digests:
            joined = hashlib.sha256("".join(digests).encode()).hexdigest()
            found[package] = digests[0] if len(digests) == 1 else joined
    return found


def source_tags() -> dict[str, str]:
    """Return the tags of every run: user, code and packages."""
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        user = "unknown"
    tags = {"mlflow.user": user, "mlflow.source.name": "pocketnets", "mlflow.source.type": "LOCAL"}
    return tags | code_tags()


def code_tags() -> dict[str, str]:
    """Return the tags for the code and packages of a run."""
    tags = code_identity()
    if (commit := git_commit()) != "unknown":
        tags |= {"mlflow.source.git.commit": commit, "source_dirty": str(is_dirty())}
    return tags


def code_identity() -> dict[str, str]:
    """Return the tags that determine what a run computes: a commit that changes no code does not change them."""
    tags = {"source_sha256": source_sha256()}
    tags |= {f"plugin.{package}": digest for package, digest in installed_plugins().items()}
    packages = (*RECORDED_PACKAGES, *installed_plugins())
    return tags | {f"version.{package}": number for package, number in versions(packages).items()}
