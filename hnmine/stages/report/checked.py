"""The report's section on `filter.score = "checked"`: what was spent on the cross-encoder, and what it changed."""

from typing import Any

from hnmine.runtime.stage import RunContext
from hnmine.stages.report.negatives import Negatives
from hnmine.stages.report.statistics import share
from hnmine.stages.rescore.rescored import checks_rescored, rescore_column
from hnmine.storage.schemas.filter import CHECKED
from hnmine.storage.schemas.rescore import RESCORES
from hnmine.storage.store import Shards


def checked(context: RunContext, negatives: Negatives, counts: dict[str, Any]) -> dict[str, Any]:
    """Return the section `checked` of the report; empty where the cross-encoder checks nothing.

    It has pairs (candidates scored, labelled ones among them), pairs_per_query, rejected (verdicts that it changed) and
    negatives_scored (share of the retrieved negatives that have its score; None without any).

    Args:
        context: of a run whose stage emit is complete.
        negatives: of the run.
        counts: of the stages' manifests, by stage.
    """
    if not checks_rescored(context.config):
        return {}
    own, found = counts["rescore"], negatives.retrieved
    shards = Shards(context.reading("rescore"), RESCORES)
    column = rescore_column(shards, negatives.query[found], negatives.document[found])["rescore_score"]
    return {
        "checked": {
            "pairs": own["scored"],
            "pairs_per_query": share(own["scored"], own["queries"]),
            "rejected": counts["filter"]["verdicts"][CHECKED],
            "negatives_scored": share(len(column) - column.null_count, len(column)),
        }
    }
