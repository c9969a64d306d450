"""Hub-normalised scores in the teacher's place, where readers of candidates use them like any other scores."""

from dataclasses import dataclass

import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage
from hnmine.runtime.stage import RunContext
from hnmine.stages.rescore.rescored import Rescored, replace_scores, uses_rescored
from hnmine.storage.schemas.hubs import HUB_SCORES
from hnmine.storage.store import MANIFEST, Shards, read_json

_COLUMNS = ["scores", "positive_scores", "background_mean", "background_std"]


def normalises_hubs(config: Config) -> bool:
    """Return whether a config's filter uses hub-normalised scores in the teacher's place."""
    return config.filter.score == "hub_normalised"


def replaces_scores(config: Config) -> bool:
    """Return whether a config's filter uses other scores in the teacher's place."""
    return normalises_hubs(config) or uses_rescored(config)


@dataclass(frozen=True)
class HubNormalised:
    """The output of a run's stage hubs."""

    shards: Shards

    def add_to(self, table: pa.Table) -> pa.Table:
        """Return rows of retrieve with hub-normalised scores in the place of the teacher's; see `replace_scores`."""
        own = self.shards.take(table.column("query_row").to_numpy(), _COLUMNS)
        return replace_scores(table, own, Ragged.from_arrow(own.column("scores")).values)


def other_scores(context: RunContext) -> "Rescored | HubNormalised | None":
    """Return the scores that a run's filter reads besides the teacher's; None where it reads no others.

    Raises:
        IncompleteStage: they are hub-normalised, and the stage hubs is not complete.
    """
    if not normalises_hubs(context.config):
        return Rescored.open(context)
    folder = context.reading("hubs")
    if read_json(folder / MANIFEST) is None:
        raise IncompleteStage(
            f'{folder} is not complete, and filter.score = "hub_normalised" needs it; run `hnmine hubs` first'
        )
    return HubNormalised(Shards(folder, HUB_SCORES))
