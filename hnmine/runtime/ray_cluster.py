"""A Ray cluster: connecting to it, how many tasks fit on its nodes, and checks of every node before it gets tasks.

A node must have the same versions as this process and share the output folder. Only this module and `ray_engine` import
ray, and only if a run uses that engine.
"""

import importlib.util
import logging
import os
import secrets
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnmine.errors import ClusterError, ConfigError, MissingExtra, OutputError
from hnmine.storage.remote_path import TEMPORARY

CONNECT_SECONDS = 10.0
"""Time limit for a first answer from a cluster's address."""

PROBE_SECONDS = 60.0
"""Time limit for a node's answer to the probe."""

SHARED_SECONDS = 10.0
"""Time limit for a file that one machine wrote in the shared folder to appear on another."""

STORE_BYTES = 80_000_000
"""Object store of a local cluster, nearly the least that ray accepts: no data goes through it."""

# Read by ray when it is imported or started: no usage report, and no notices on stdout, which carries our result.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}


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

    def connect(self) -> None:
        """Connect, unless this process is connected already; errors as `connect`."""
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

        nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        asked = [(name, n) for name, n in (("CPU", cpus), ("GPU", gpus)) if n]
        counts = {
            # tasks that fit on the node at once; 1 where a task needs nothing
            name: int(min((node["Resources"].get(kind, 0.0) / n for kind, n in asked), default=1.0) + 1e-9)
            for name, node in nodes.items()
        }
        if any(counts.values()):
            self._lacking_since = None
            new = {name: nodes[name] for name, count in counts.items() if count and name not in self._checked}
            labels = {name: f"{n['NodeManagerHostname']} ({n['NodeManagerAddress']})" for name, n in new.items()}
            if labels:
                self._check(labels)
        else:
            self._wait_for(cpus, gpus, [node["Resources"] for node in nodes.values()])
        return sum(counts.values())

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
            f"no node of the Ray cluster has the resources of a task, {task} (waited {wait:g} s); "
            f"the nodes have: {found}; lower task_cpus or task_gpus, or add such a node"
        )

    def _check(self, labels: Mapping[str, str]) -> None:
        """Check versions and shared folders of nodes, given by id with a name; one that leaves meanwhile is skipped."""
        with _marker(self.folder) as marker:
            ours = make_probe(str(marker), [], SHARED_SECONDS)()["versions"]
            probe = make_probe(str(marker), [str(path) for path in self.sources], SHARED_SECONDS)
            for name, answer in _run_on(labels, probe).items():
                node, theirs = labels[name], answer["versions"]
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
        fault = answer["fault"] or "files that it writes there do not appear here"
        deadline = time.monotonic() + SHARED_SECONDS
        while not (answer["reply"] and marker.with_name(answer["reply"]).exists()):
            if not answer["reply"] or time.monotonic() > deadline:
                raise OutputError(
                    f"{self.folder}: node {node} does not share this folder ({fault}); choose an --out on storage that "
                    "every node mounts under the same path, or --ray-address local"
                )
            time.sleep(0.05)  # a network file system may show a new file late
        if answer["missing"]:
            raise OutputError(f"{', '.join(answer['missing'])}: not there on node {node}; put it on shared storage")


def connect(address: str, workers: int) -> bool:
    """Connect this process to a cluster, with nothing written to stdout; return False if it was connected already.

    `address` and `workers` are those of `Cluster`.

    Raises:
        MissingExtra: ray is not installed.
        ConfigError: the address is not one of these.
        ClusterError: the cluster cannot be reached or refuses the connection.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra('the engine ray needs ray: pip install "hnmine[ray]", on every node')
    address = _resolved(address)
    host, _, port = address.rpartition(":")
    cores = workers if workers > 1 else None
    local = {"num_cpus": cores, "object_store_memory": STORE_BYTES} if address == "local" else {}
    with _process_state_kept():
        import ray

        if ray.is_initialized():
            return False
        try:
            if host:  # ray itself takes two minutes to report that nothing listens there
                socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(
                f"nothing answers at {address} ({error}): no Ray cluster there; check the address and the network"
            ) from None
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        try:
            ray.init(address=address, **quiet, **local)
        except Exception as error:  # ray raises errors of its own, the system's and plain ones
            raise ClusterError(_advice(address, error)) from error
    return True


@contextmanager
def _process_state_kept() -> Iterator[None]:
    """Set the environment for ray's start, and restore it and the signal handlers that ray replaces."""
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)} if main else {}
    added = [name for name in _QUIET if name not in os.environ]
    os.environ.update({name: _QUIET[name] for name in added})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SystemExit as stop:  # ray turns a SIGTERM during its start into this
        handler = handlers.get(signal.SIGTERM)
        if stop.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        for name in added:
            os.environ.pop(name, None)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _resolved(given: str) -> str:
    """Return auto, local or host:port; auto becomes the address in RAY_ADDRESS if that is set."""
    address = os.environ.get("RAY_ADDRESS", "auto") if given == "auto" else given
    host, _, port = address.rpartition(":")
    if address in ("auto", "local") or (host and port.isdigit() and "/" not in host):
        return address
    where = "RAY_ADDRESS" if address != given else "ray_address"
    raise ConfigError(
        f"{where}: {address!r} is not auto, local or host:port; "
        "from outside the cluster, run the command through `ray job submit`"
    )


def _advice(address: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    if lines[0].startswith("Version mismatch"):
        return f"the Ray cluster has other versions than this process; install the same on both: {' '.join(lines)}"
    if address == "auto" and isinstance(error, ConnectionError):
        return (
            "no Ray cluster was found on this machine or in RAY_ADDRESS; start one with `ray start --head`, "
            "name one with --ray-address host:port, or use --ray-address local"
        )
    return (
        f"the Ray cluster {address!r} cannot be used: {lines[0][:300]}; run the command on a node of the cluster, "
        "or through `ray job submit`; if the cluster requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    )


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

    It is defined in here, so ray sends it by value, and a node without hnmine can run it. It waits `patience` seconds
    for the file `marker`, writes a reply beside it, and looks for the folders `sources`.
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
        for name in ("ray", "numpy", "pyarrow", "faiss-cpu"):
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


def _run_on(labels: Mapping[str, str], probe: Callable[[], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Run the probe on every node and return the answers, by id, of those that are still in the cluster."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    task = ray.remote(num_cpus=0, max_retries=0)(probe)
    sent = {name: task.options(scheduling_strategy=On(name, soft=False)).remote() for name in labels}
    answers: dict[str, dict[str, Any]] = {}
    for name, ref in sent.items():
        try:
            answers[name] = ray.get(ref, timeout=PROBE_SECONDS)
        except (GetTimeoutError, RayTaskError) as error:
            fault = "no answer" if isinstance(error, GetTimeoutError) else str(error).strip().splitlines()[-1]
            raise ClusterError(f"node {labels[name]} cannot work: {fault}") from error
        except RayError:  # the node left the cluster
            continue
    return answers
