"""The Ray cluster that trials run on: connect to one or start one, and compare its nodes with this one."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from architectures.errors import ProjectError, UsageError
from architectures.redaction import redact
from experiments.cores import cores

CONNECT_SECONDS = 5  # within which a cluster's head must answer
PACKAGES = ("pocketnets", "tensorflow", "tensorflow-cpu", "keras", "coremltools", "numpy", "scipy", "ray")
FLOORS = ("architectures", "experiments", "conversion", "search")


@dataclass(frozen=True)
class Share:
    """The resources of the cluster that one trial uses."""

    cpus: int
    gpus: float

    def fits(self, resources: Mapping[str, float]) -> int:
        """Return how many trials fit into some resources.

        >>> Share(2, 0.5).fits({"CPU": 9, "GPU": 1})
        2
        """
        wanted = (("CPU", self.cpus), ("GPU", self.gpus))
        return min(int(resources.get(name, 0) / amount + 1e-6) for name, amount in wanted if amount)

    def __str__(self) -> str:
        return f"{self.cpus} CPUs and {self.gpus:g} GPUs"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the cluster at an address; `auto` is the one on this machine, None starts one and ends it afterwards.

    Raises:
        UsageError: for an invalid address.
        ProjectError: if there is no cluster, or Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # one attempt to connect
        options["address"] = address
    else:
        os.environ.setdefault("RAY_worker_niceness", "0")  # the same priority as workers of the local engine
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so that it binds to 127.0.0.1
        if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # keeps out other users
        options |= {"address": "local", "num_cpus": cores(), "include_dashboard": False}
    try:
        import ray
    except ImportError:
        raise ProjectError("--engine ray needs Ray: pip install 'pocketnets[ray]'.") from None
    if address and address != "auto":
        _check_answers(address)
    try:
        ray.init(**options)
    except SystemExit:
        raise KeyboardInterrupt from None  # Ray converts SIGTERM to this
    except Exception as error:
        text = redact(" ".join(str(error).split()))[:400]
        raise ProjectError(f"No Ray cluster at {address or 'this machine'}: {text or type(error).__name__}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise if the address does not speak gRPC; Ray itself would take minutes to notice."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal():
        raise UsageError(
            f"--ray-address {address!r} is neither HOST:PORT of a cluster's head nor auto. A sweep runs on a node of "
            f"the cluster, where the head or `ray start --address` has been started."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            import grpc

            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except Exception as error:
        reason = getattr(error, "strerror", None) or "it does not answer as one"
        raise ProjectError(f"No Ray cluster at {address}: {reason}. Its head is started by: ray start --head") from None


def trials_at_a_time(share: Share) -> int:
    """Return how many trials the whole cluster can run at a time.

    Raises:
        ProjectError: if no node has the resources of one trial.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = sum(share.fits(resources) for resources in nodes)
    if not found:
        each = "; ".join(f"{one.get('CPU', 0):g} CPUs and {one.get('GPU', 0):g} GPUs" for one in nodes)
        raise ProjectError(
            f"No node of the Ray cluster has the {share} of a trial. Nodes: {each}. See --cpus-per-trial and "
            f"--gpus-per-trial."
        )
    return found


def _facts_function() -> Callable[[tuple[str, ...], tuple[str, ...]], dict[str, str]]:
    def facts(packages: tuple[str, ...], floors: tuple[str, ...]) -> dict[str, str]:
        import hashlib
        import importlib.util
        import platform
        from importlib.metadata import PackageNotFoundError, version
        from pathlib import Path

        found = {"Python": platform.python_version()}
        for package in packages:
            with contextlib.suppress(PackageNotFoundError):
                found[package] = version(package)
        digest = hashlib.sha256()
        for floor in floors:
            spec = importlib.util.find_spec(floor)
            if spec is None or not spec.submodule_search_locations:
                return found
            folder = Path(spec.submodule_search_locations[0])
            for file in sorted(folder.rglob("*.py")):
                digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
        return found | {"code": digest.hexdigest()[:12]}

    return facts  # not a module's function: Ray sends its code, and the node need not have this module


def facts() -> dict[str, str]:
    """Return what must be the same on all nodes for a run's record to be true: source code and package versions."""
    return _facts_function()(PACKAGES, FLOORS)


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Return why a node cannot run a sweep's trials; None if it can.

    >>> difference({"keras": "3.15.1", "code": "a"}, {"keras": "3.15.2", "code": "a"})
    'has keras 3.15.1, the sweep 3.15.2'
    """
    if "code" not in theirs:
        return "cannot import pocketnets"
    for name in sorted({*theirs, *ours}, key=lambda name: name == "code"):
        if theirs.get(name) != ours.get(name):
            if name == "code":
                return "has other source code of pocketnets than the sweep"
            return f"has {name} {theirs.get(name, 'not installed')}, the sweep {ours.get(name, 'none')}"
    return None


def check_this_node(expected: tuple[tuple[str, str], ...]) -> None:
    """Raise if this node, which may have just joined the cluster, differs from the sweep's."""
    _raise_for(socket.gethostname(), difference(facts(), dict(expected)))


def check_nodes(ours: Mapping[str, str]) -> None:
    """Raise ProjectError if a node of the cluster has other source code or packages than this one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0, max_retries=0)(_facts_function())
    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            asked[name] = look.options(scheduling_strategy=here).remote(PACKAGES, FLOORS)
    for name, reference in asked.items():
        try:
            theirs = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise ProjectError(f"Node {name} of the cluster failed: {error.cause}") from error
        except ray.exceptions.RayError:
            continue  # it has left the cluster
        _raise_for(name, difference(theirs, ours))


def _raise_for(node: str, found: str | None) -> None:
    if found:
        raise ProjectError(f"Node {node} of the cluster {found}: install the same version on every node.")
