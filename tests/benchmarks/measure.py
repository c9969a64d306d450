"""Shared by the benchmarks: command-line parsers, times of a call, medians with their range, peaks, config files."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.config.section import toml_value


def argument_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def sizes_parser(doc: str | None, documents: int, queries: int = 100_000) -> argparse.ArgumentParser:
    """Return a parser with the size of a synthetic collection and the number of repeats."""
    made = argument_parser(doc)
    made.add_argument("--queries", type=int, default=queries)
    made.add_argument("--documents", type=int, default=documents)
    made.add_argument("--repeats", type=int, default=3)
    return made


def timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return a call's result and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def median(values: Sequence[float] | np.ndarray, digits: int = 1, to: str = " to ") -> str:
    """Return the median of some values and their range: `1.2 (0.9 to 1.6)`."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f}{to}{max(values):.{digits}f})"


def peak_bytes() -> int:
    """Return this process's peak memory. getrusage would count what its parent held when it started this one."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def config_text(config: dict[str, Any]) -> str:
    """Return a config file in TOML of settings and tables of settings."""
    lines = [f"{name} = {toml_value(value)}" for name, value in config.items() if not isinstance(value, dict)]
    for name, table in config.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
