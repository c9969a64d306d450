"""A Ray cluster: how many tasks fit on its nodes, and checks of every node before it gets tasks.

A node must have the same versions as this process and share the output folder.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnmine.errors import ClusterError, OutputError
from hnmine.runtime.ray_connection import connect
from hnmine.storage.remote_path import TEMPORARY

PROBE_SECONDS = 60.0
"""Time limit for a node's answer to the probe."""

SHARED_SECONDS = 10.0
"""Time limit for a file that one machine wrote in the shared folder to appear on another."""

TICK = 2.0
"""Seconds between two looks at the cluster's nodes."""


@dataclass
class Cluster:
    """The Ray cluster of a run.

    Attributes:
        address: auto (that of the environment, or of this machine), local (a new one on this machine), or host:port.
        folder: the output folder; every node must reach it under the same path.
        sources: folders that every node must be able to read.
        wait: seconds to wait for a node with the resources of a task.
        workers: cores of a local cluster; 1 for all cores of this machine.
        note: shows a message.
        ours: the connection was made here and ends with the run.
    """

    address: str
    folder: Path
    sources: tuple[Path, ...] = ()
    wait: float = 300.0
    workers: int = 1
    note: Callable[[str], None] = field(default=lambda message: None)
    ours: bool = False
    _checked: set[str] = field(default_factory=set)
    _lacking_since: float | None = None
    _task: tuple[float, float] = (0.0, 0.0)
    _counted: float = -TICK
    _slots: int = 0

    def connect(self) -> None:
        """Connect, unless this process is connected already.

        Raises:
            MissingExtra: ray is not installed.
            ConfigError: the address is invalid.
            ClusterError: the cluster cannot be reached or refuses the connection.
        """
        self.ours = connect(self.address, self.workers) or self.ours

    def close(self) -> None:
        """End the connection if it was made here."""
        if self.ours:
            import ray

            ray.shutdown()
            self.ours = False

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many tasks with these resources fit on the nodes at once. New nodes are checked.

        Raises:
            ClusterError: no node has had the resources for `wait` seconds, or a node has other versions.
            OutputError: a node does not share the output folder.
        """
        import ray

        now = time.monotonic()
        if now - self._counted < TICK and self._task == (cpus, gpus):
            return self._slots
        self._counted, self._task = now, (cpus, gpus)
        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        counts = {name: _tasks_at_once(node["Resources"], cpus, gpus) for name, node in nodes.items()}
        fitting = {name for name, count in counts.items() if count}
        self._slots = sum(counts.values())
        if fitting:
            self._lacking_since = None
            self._check({name: nodes[name] for name in fitting - self._checked})
        else:
            self._wait_for(cpus, gpus, [node["Resources"] for node in nodes.values()])
        return self._slots

    def _wait_for(self, cpus: float, gpus: float, offers: list[Mapping[str, float]]) -> None:
        now = time.monotonic()
        task = f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        wait = 0.0 if self.ours and self.address == "local" else self.wait
        if self._lacking_since is None:
            self._lacking_since = now
            self.note(f"no node offers {task} to a task; waiting up to {wait:g} s for one")
        if now - self._lacking_since < wait:
            return
        found = "; ".join(f"{o.get('CPU', 0):g} CPU, {o.get('GPU', 0):g} GPU" for o in offers) or "no live node"
        raise ClusterError(
            f"no node of the Ray cluster offers what a task asks for, {task} (waited {wait:g} s); "
            f"the nodes have: {found}; lower task_cpus or task_gpus, or add such a node"
        )

    def _check(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        """Check versions and shared folders of nodes; one that leaves the cluster meanwhile is skipped."""
        if not nodes:
            return
        with _marker(self.folder) as marker:
            ours = make_probe(str(marker), [], SHARED_SECONDS)()["versions"]
            probe = make_probe(str(marker), [str(path) for path in self.sources], SHARED_SECONDS)
            for name, answer in _run_on(nodes, probe).items():
                node, theirs = _label(nodes[name]), answer["versions"]
                if not answer["installed"]:
                    raise ClusterError(
                        f'node {node} has no hnmine: pip install "hnmine[ray]" there, in the same version'
                    )
                # other versions may write other bytes
                differ = [f"{n} {theirs[n]} where this process has {ours[n]}" for n in ours if theirs[n] != ours[n]]
                if differ:
                    raise ClusterError(f"node {node} has {', '.join(differ)}; install the same versions on every node")
                self._check_shared(node, marker, answer)
                self._checked.add(name)

    def _check_shared(self, node: str, marker: Path, answer: Mapping[str, Any]) -> None:
        reply = marker.with_name(answer["reply"]) if answer["reply"] else None
        deadline = time.monotonic() + SHARED_SECONDS
        while reply is not None and not reply.exists() and time.monotonic() < deadline:
            time.sleep(0.05)  # a network file system may show a new file late
        if reply is None or not reply.exists():
            fault = answer["fault"] or "what it writes there is not seen here"
            raise OutputError(
                f"{self.folder}: node {node} does not share this folder ({fault}); choose an --out on storage that "
                "every node mounts under the same path, or --ray-address local"
            )
        if answer["missing"]:
            raise OutputError(f"{', '.join(answer['missing'])}: not there on node {node}; put it on shared storage")


def _tasks_at_once(offer: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many tasks fit on a node with these resources; 1 for a task that needs none."""
    return int(min((offer.get(name, 0.0) / n for name, n in (("CPU", cpus), ("GPU", gpus)) if n), default=1.0) + 1e-9)


def _label(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


@contextmanager
def _marker(folder: Path) -> Iterator[Path]:
    """Yield a file in the output folder with a random name, removed afterwards with the nodes' replies beside it."""
    name = secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{TEMPORARY}{name}"
    path.write_text(name)
    try:
        yield path
    finally:
        for file in folder.glob(f"{path.name}*"):
            file.unlink(missing_ok=True)


def make_probe(marker: str, sources: list[str], patience: float) -> Callable[[], dict[str, Any]]:
    """Return the function that a node runs to report its versions and whether it shares our files.

    It is defined in here, so ray sends it by value, and a node without hnmine can run it.

    Args:
        marker: file in the output folder that the node reads; it writes a reply beside it.
        sources: folders that must exist there.
        patience: seconds to wait for the marker.
    """

    def probe() -> dict[str, Any]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import os
        import platform
        import time
        from pathlib import Path, PurePosixPath

        versions: dict[str, str | None] = {"Python": platform.python_version()}
        spec = importlib.util.find_spec("hnmine")
        code = sorted(Path(spec.origin).parent.rglob("*.py")) if spec and spec.origin else []
        versions["hnmine's code"] = hashlib.sha256(b"".join(p.read_bytes() for p in code)).hexdigest()[:12]
        for name in ("ray", "numpy", "pyarrow", "faiss-cpu", "scikit-learn"):
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = None
        reply, fault, missing = "", "", []
        try:
            import fsspec

            system, file = fsspec.core.url_to_fs(marker, use_listings_cache=False)
            deadline, name = time.monotonic() + patience, PurePosixPath(file).name
            while not system.exists(file) and time.monotonic() < deadline:  # a network file system may show it late
                time.sleep(0.05)
            if system.cat_file(file).decode() == name[-16:]:
                reply = f"{name}-{os.urandom(4).hex()}"
                system.pipe_file(f"{file.removesuffix(name)}{reply}", b"-")
            for path in sources:
                system, folder = fsspec.core.url_to_fs(path, use_listings_cache=False)
                missing += [] if system.isdir(folder) else [path]
        except Exception as error:  # each store's library has its own errors
            reply, fault = "", getattr(error, "strerror", None) or str(error)
        return {
            "versions": versions, "installed": bool(code), "reply": reply, "fault": fault, "missing": missing
        }  # fmt: skip

    return probe


def _run_on(nodes: Mapping[str, Mapping[str, Any]], probe: Callable[[], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Run the probe on every node and return the answers of those that are still in the cluster."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(probe)
    sent = {}
    for name in nodes:
        there = NodeAffinitySchedulingStrategy(name, soft=False)
        sent[name] = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()
    answers: dict[str, dict[str, Any]] = {}
    for name, ref in sent.items():
        try:
            answers[name] = ray.get(ref, timeout=PROBE_SECONDS)
        except (GetTimeoutError, RayTaskError) as error:
            fault = "no answer" if isinstance(error, GetTimeoutError) else str(error).strip().splitlines()[-1]
            raise ClusterError(f"node {_label(nodes[name])} cannot work: {fault}") from error
        except RayError:  # the node left the cluster
            continue
    return answers
