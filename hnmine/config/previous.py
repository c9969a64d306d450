"""The table `[previous]`: an earlier run that this one is held against, and whose negatives it may keep."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from hnmine.config.base import Name, Section, setting

if TYPE_CHECKING:
    from hnmine.config.whole import Config


class PreviousConfig(Section):
    """An earlier run over the same queries, to mine again with another checkpoint of the model."""

    run: Name = setting(..., "folder or URL of the earlier run, complete as far as emit", no_effect=True)
    replace: Literal["all", "easy"] = setting(
        "all",
        "all: mine as without it and report what changed; easy: keep its negatives, but for those that the model now "
        "finds easy and those that the filter now rejects",
    )
    easy_ratio: float = setting(
        1.15, "easy: this many times the score of now is below the score when it was chosen", ge=1
    )
    easy_below: float = setting(0.8, "easy: and the score of now is below this")

    def part(self) -> dict[str, Any]:
        """Return the settings that determine what is written; what decides nothing counts for nothing."""
        return self.semantic() if self.replace == "easy" else {"replace": "all"}


def check_previous(config: "Config") -> Iterator[str]:
    """Yield what the rest of a config leaves no room for."""
    if config.previous is None:
        return
    if config.previous.replace == "easy" and not config.emit.retrieved_negatives:
        yield 'previous.replace: "easy" keeps negatives that retrieval found, but emit.random_share leaves it none'
    if any(source.label == "previous" for source in config.retrieve.source):
        yield 'retrieve.source: "previous" is what a negative of the earlier run is said to be; choose another name'
    if config.filter.score == "rescored":
        yield (
            'previous.run: two runs are compared by their teachers\' scores, and filter.score is "rescored"; leave the '
            'table [previous] out, or set filter.score = "teacher"'
        )
