"""The table `[previous]`: an earlier run that this one is held against, and whose negatives it may keep."""

from typing import Any, Literal

from hnmine.config.base import Name, Section, setting


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
