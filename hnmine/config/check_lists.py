"""Lists of checks of the config, each with the tables that it reads."""

from collections.abc import Callable, Iterator

from hnmine.config.tables import Config

Check = Callable[[Config], Iterator[str]]
"""Yields a message for each contradiction in a config."""


class CheckList(list[tuple[tuple[str, ...], Check]]):
    """Checks of one subject, in the order of their file."""

    def reads(self, *tables: str) -> Callable[[Check], None]:
        """Add a check with the tables (or top-level settings) that it reads."""
        return lambda check: self.append((tables, check))
