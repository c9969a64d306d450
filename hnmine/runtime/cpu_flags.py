"""The instructions of this machine's CPU."""

from pathlib import Path

# those that torch multiplies bfloat16 with
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def multiplies_bfloat16(info: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU has instructions for products of bfloat16; without them torch is slower than in float32.

    `info` is the system's description of the CPU; where it cannot be read, the answer is False.
    """
    try:
        return not _BFLOAT16.isdisjoint(info.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
