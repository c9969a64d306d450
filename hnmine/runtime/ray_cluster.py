"""A Ray cluster, its nodes held to what a run needs before work is sent to them: resources, versions, one folder."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnmine.errors import ClusterError, OutputError
from hnmine.runtime.ray_join import join
from hnmine.storage.remote_path import TEMPORARY

LOOK_SECONDS = 60.0
"""How long a node may take to answer the first question put to it."""

SHOW_SECONDS = 10.0
"""How long a shared folder may take to show here what a node wrote."""

TICK = 2.0
"""Seconds between two looks at which nodes there are."""


@dataclass
class Cluster:
    """Which cluster a run works on, and what is known of its nodes.

    Attributes:
        address: auto (of the environment, or of this machine), local (one of our own), or host:port.
        folder: the output folder, which every node must reach under the same path.
        sources: folders that every node must be able to read.
        wait: seconds to wait for a node that offers what a task asks for.
        workers: cores of a cluster of our own; 1 takes all that this machine has.
        note: says something worth knowing.
        ours: the connection was made here, and ends with the run.
    """

    address: str
    folder: Path
    sources: tuple[Path, ...] = ()
    wait: float = 300.0
    workers: int = 1
    note: Callable[[str], None] = field(default=lambda message: None)
    ours: bool = False
    _seen: set[str] = field(default_factory=set)
    _lacking: float | None = None
    _asked: tuple[float, float] = (0.0, 0.0)
    _looked: float = -TICK
    _slots: int = 0

    def connect(self) -> None:
        """Connect, unless this process is connected already.

        Raises:
            MissingExtra: ray is not installed.
            ConfigError: the address is none.
            ClusterError: the cluster cannot be reached or does not take us.
        """
        self.ours = join(self.address, self.workers) or self.ours

    def close(self) -> None:
        """Leave the cluster, if it was joined here."""
        if self.ours:
            import ray

            ray.shutdown()
            self.ours = False

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many tasks may run at once; new nodes are looked at first.

        Raises:
            ClusterError: no node has offered what a task asks for, for as long as one waits; or a node
                has other versions.
            OutputError: a node does not share the output folder.
        """
        import ray

        now = time.monotonic()
        if now - self._looked < TICK and self._asked == (cpus, gpus):
            return self._slots
        self._looked, self._asked = now, (cpus, gpus)
        offers = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        able = {name: _times(node["Resources"], cpus, gpus) for name, node in offers.items()}
        able = {name: times for name, times in able.items() if times}
        self._slots = sum(able.values())
        if able:
            self._lacking = None
            self._look_at({name: offers[name] for name in able.keys() - self._seen})
        else:
            self._wait_for(cpus, gpus, [node["Resources"] for node in offers.values()])
        return self._slots

    def _wait_for(self, cpus: float, gpus: float, offers: list[Mapping[str, float]]) -> None:
        now = time.monotonic()
        asked = f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        wait = 0.0 if self.ours and self.address == "local" else self.wait
        if self._lacking is None:
            self._lacking = now
            self.note(f"no node offers {asked} to a task; waiting up to {wait:g} s for one")
        if now - self._lacking < wait:
            return
        found = "; ".join(f"{o.get('CPU', 0):g} CPU, {o.get('GPU', 0):g} GPU" for o in offers) or "no live node"
        raise ClusterError(
            f"no node of the Ray cluster offers what a task asks for, {asked} (waited {wait:g} s); "
            f"the nodes have: {found}; lower task_cpus or task_gpus, or add such a node"
        )

    def _look_at(self, nodes: Mapping[str, Mapping[str, Any]]) -> None:
        if not nodes:
            return
        with _token(self.folder) as token:
            mine = make_look(str(token), [], SHOW_SECONDS)()
            look = make_look(str(token), [str(path) for path in self.sources], SHOW_SECONDS)
            for name, answer in _ask(nodes, look).items():
                if answer is not None:  # None: the node went away meanwhile
                    _hold(_label(nodes[name]), mine, answer)
                    self._check_shared(_label(nodes[name]), token, answer)
                    self._seen.add(name)

    def _check_shared(self, node: str, token: Path, answer: Mapping[str, Any]) -> None:
        reply = token.with_name(answer["reply"]) if answer["reply"] else None
        deadline = time.monotonic() + SHOW_SECONDS
        while reply is not None and not reply.exists() and time.monotonic() < deadline:
            time.sleep(0.05)  # a network file system may show a new file late
        if reply is None or not reply.exists():
            reason = answer["fault"] or "what it writes there is not seen here"
            raise OutputError(
                f"{self.folder}: node {node} does not share this folder ({reason}); choose an --out on storage that "
                "every node mounts under the same path, or --ray-address local"
            )
        if answer["missing"]:
            raise OutputError(f"{', '.join(answer['missing'])}: not there on node {node}; put it on shared storage")


def _times(offer: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many tasks a node runs at once."""
    return int(min((offer.get(name, 0.0) / n for name, n in (("CPU", cpus), ("GPU", gpus)) if n), default=1.0) + 1e-9)


def _label(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


@contextmanager
def _token(folder: Path) -> Iterator[Path]:
    """Keep a file in the output folder that a node can only see if it has the same folder."""
    name = secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{TEMPORARY}{name}"
    path.write_text(name)
    try:
        yield path
    finally:
        for file in folder.glob(f"{path.name}*"):
            file.unlink(missing_ok=True)


def make_look(token: str, sources: list[str], patience: float) -> Callable[[], dict[str, Any]]:
    """Return what a node is asked: its versions, and whether it sees our files and we see its.

    The function is made here so that it travels by value: a node without hnmine can answer as well.
    """

    def look() -> dict[str, Any]:
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

            system, file = fsspec.core.url_to_fs(token, use_listings_cache=False)
            deadline, name = time.monotonic() + patience, PurePosixPath(file).name
            while not system.exists(file) and time.monotonic() < deadline:  # a network file system may show it late
                time.sleep(0.05)
            if system.cat_file(file).decode() == name[-16:]:
                reply = f"{name}-{os.urandom(4).hex()}"
                system.pipe_file(f"{file.removesuffix(name)}{reply}", b"-")
            for path in sources:
                system, folder = fsspec.core.url_to_fs(path, use_listings_cache=False)
                missing += [] if system.isdir(folder) else [path]
        except Exception as error:  # each store's library has errors of its own
            reply, fault = "", getattr(error, "strerror", None) or str(error)
        return {
            "versions": versions, "installed": bool(code), "reply": reply, "fault": fault, "missing": missing
        }  # fmt: skip

    return look


def _ask(
    nodes: Mapping[str, Mapping[str, Any]], look: Callable[[], dict[str, Any]]
) -> dict[str, dict[str, Any] | None]:
    """Return each node's answer; None where it went away before it gave one."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(look)
    asked = {}
    for name in nodes:
        there = NodeAffinitySchedulingStrategy(name, soft=False)
        asked[name] = task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()
    answers: dict[str, dict[str, Any] | None] = {}
    for name, ref in asked.items():
        try:
            answers[name] = ray.get(ref, timeout=LOOK_SECONDS)
        except (GetTimeoutError, RayTaskError) as error:
            reason = "no answer" if isinstance(error, GetTimeoutError) else str(error).strip().splitlines()[-1]
            raise ClusterError(f"node {_label(nodes[name])} cannot work: {reason}") from error
        except RayError:
            answers[name] = None
    return answers


def _hold(node: str, mine: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse a node whose versions are not ours: other versions may write other bytes."""
    if not other["installed"]:
        raise ClusterError(f'node {node} has no hnmine: pip install "hnmine[ray]" there, in the same version')
    ours, theirs = mine["versions"], other["versions"]
    differ = [
        f"{name} {theirs[name]} where this process has {ours[name]}" for name in ours if theirs[name] != ours[name]
    ]
    if differ:
        raise ClusterError(f"node {node} has {', '.join(differ)}; install the same versions on every node")
