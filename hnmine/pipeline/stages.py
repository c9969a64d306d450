"""The stages in order. A stage, its folder of code, its command, config table and output folder share one name."""

from hnmine.runtime.stage import Stage
from hnmine.stages.embed import step as embed
from hnmine.stages.emit import step as emit
from hnmine.stages.filter import step as filter
from hnmine.stages.hubs import step as hubs
from hnmine.stages.index import step as index
from hnmine.stages.ingest import step as ingest
from hnmine.stages.report import step as report
from hnmine.stages.rescore import step as rescore
from hnmine.stages.retrieve import step as retrieve

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        ingest.STAGE, embed.STAGE, index.STAGE, retrieve.STAGE, rescore.STAGE, hubs.STAGE, filter.STAGE, emit.STAGE,
        report.STAGE,
    )
}  # fmt: skip
