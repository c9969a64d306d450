"""Starts a program that the operating system ends when the process that started it ends; run as a script.

Arguments: the id of the process that started it, then the program's words. This process becomes the program. Where the
system has no such signal (it is Linux's), the program still finds its standard input at an end.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, words: list[str]) -> None:
    """Become the program that the words name, unless the parent has ended meanwhile."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.exit(f"{words[0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
