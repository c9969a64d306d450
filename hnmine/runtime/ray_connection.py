"""Connection to a Ray cluster: joining one, or starting one on this machine, with nothing written to stdout.

Only this module, `ray_cluster` and `ray_engine` import ray, and only if a run uses that engine.
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
"""Time limit for a first answer from a cluster's address."""

STORE_BYTES = 80_000_000
"""Object store of a local cluster, nearly the least that ray accepts: no data goes through it."""

# Read by ray when it is imported or started: no usage report, and no notices on stdout, which carries our result.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}


def connect(address: str, workers: int) -> bool:
    """Connect this process to a cluster; return False if it was connected already.

    Args:
        address: auto, local or host:port.
        workers: cores of a local cluster; 1 for all cores of this machine.

    Raises:
        MissingExtra: ray is not installed.
        ConfigError: the address is not one of these.
        ClusterError: the cluster cannot be reached or refuses the connection.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra('the engine ray needs ray: pip install "hnmine[ray]", on every node')
    address = _resolved(address)
    with _process_state_kept():
        import ray

        if ray.is_initialized():
            return False
        _check_port(address)
        local = {"num_cpus": workers if workers > 1 else None, "object_store_memory": STORE_BYTES}
        try:
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(local if address == "local" else {}),
            )
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


def _check_port(address: str) -> None:
    """Check that something listens at host:port. Ray itself takes two minutes to report that nothing does."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"nothing answers at {address} ({error}): no Ray cluster there; check the address and the network"
        ) from None


def _advice(address: str, error: Exception) -> str:
    """Return the message for a failed connection."""
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
