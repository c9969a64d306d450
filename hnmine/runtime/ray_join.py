"""Joining a Ray cluster, or starting one of our own, without a trace on stdout or in this process' signal handlers.

Only this module, `raycluster` and `rayengine` import ray, and only where a run asks for that engine.
"""

import importlib.util
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hnmine.errors import ClusterError, ConfigError, MissingExtra

CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to answer at all."""

STORE_BYTES = 80_000_000
"""Object store of a cluster of our own, nearly the least that ray takes: nothing goes through it."""

# Read by ray when it is imported or started: no word to its makers, and none of its notices on stdout,
# which carries our result.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}


def join(address: str, workers: int) -> bool:
    """Connect this process to a cluster; False where it is connected already, and so not ours to leave.

    Args:
        address: auto, local or host:port.
        workers: cores of a cluster of our own; 1 takes all that this machine has.

    Raises:
        MissingExtra: ray is not installed.
        ConfigError: the address is none.
        ClusterError: the cluster cannot be reached or does not take us.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra('the engine ray needs ray: pip install "hnmine[ray]", on every node')
    where = _address(address)
    with _left_as_it_was():
        import ray

        if ray.is_initialized():
            return False
        _check_port(where)
        own = {"num_cpus": workers if workers > 1 else None, "object_store_memory": STORE_BYTES}
        try:
            ray.init(
                address=where,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(own if where == "local" else {}),
            )
        except Exception as error:  # ray raises its own errors, the system's and plain ones
            raise ClusterError(_no_connection(where, error)) from error
    return True


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Keep what ray changes in this process while it starts: signal handlers, and the environment set for it."""
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)} if main else {}
    added = [name for name in _QUIET if name not in os.environ]
    os.environ.update({name: _QUIET[name] for name in added})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SystemExit as stop:  # what ray makes of a SIGTERM while it starts
        handler = handlers.get(signal.SIGTERM)
        if stop.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        for name in added:
            os.environ.pop(name, None)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _address(given: str) -> str:
    """Return auto, local or host:port; auto is replaced by the environment's address, where it has one."""
    address = os.environ.get("RAY_ADDRESS", "auto") if given == "auto" else given
    host, _, port = address.rpartition(":")
    if address in ("auto", "local") or (host and port.isdigit() and "/" not in host):
        return address
    where = "RAY_ADDRESS" if address != given else "ray_address"
    raise ConfigError(
        f"{where}: {address!r} is not auto, local or host:port; "
        "from outside the cluster, run the command through `ray job submit`"
    )


def _check_port(address: str) -> None:
    """Knock before ray does, which takes two minutes to find that nobody is there."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"nothing answers at {address} ({error}): no Ray cluster there; check the address and the network"
        ) from None


def _no_connection(address: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    if lines[0].startswith("Version mismatch"):
        return f"the Ray cluster has other versions than this process; install the same on both: {' '.join(lines)}"
    if address == "auto" and isinstance(error, ConnectionError):
        return (
            "no Ray cluster was found on this machine or in RAY_ADDRESS; start one with `ray start --head`, "
            "name one with --ray-address host:port, or take --ray-address local"
        )
    return (
        f"the Ray cluster {address!r} cannot be used: {lines[0][:300]}; run the command on a node of the cluster, "
        "or through `ray job submit`; where the cluster asks for a token, set RAY_AUTH_MODE=token "
        "and RAY_AUTH_TOKEN_PATH"
    )
