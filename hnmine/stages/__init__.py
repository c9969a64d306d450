"""The stages, in order. Same word for module, command, config table and output folder."""

from hnmine.running.stage import Stage
from hnmine.stages import embed, emit, filter, index, ingest, report, rescore, retrieve

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        ingest.STAGE, embed.STAGE, index.STAGE, retrieve.STAGE, rescore.STAGE, filter.STAGE, emit.STAGE, report.STAGE,
    )
}  # fmt: skip

__all__ = ["STAGES"]
