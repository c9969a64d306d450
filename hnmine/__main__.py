"""`python -m hnmine`, the same as the command `hnmine`."""

from hnmine.cli import main

if __name__ == "__main__":
    main()
