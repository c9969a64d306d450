"""`python -m hnmine` is the same as `hnmine`."""

from hnmine.cli import main

if __name__ == "__main__":
    main()
