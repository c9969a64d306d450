"""The stage filter: a verdict for every candidate. No candidate is dropped, so other settings need no new retrieval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import list_array
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, shard_items, write_lists
from hnmine.runtime.threads import in_threads
from hnmine.stages.filter.bad_positives import positive_percentiles
from hnmine.stages.filter.calibration import calibrate
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import CALIBRATION_FILE, FilterInputs, read_calibration, slices
from hnmine.stages.filter.verdicts import CODES, TextKeys, give_verdicts, rule_names, verdict_codes
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.schemas.filter import (
    BY_LABEL_OR_COPY,
    CALIBRATION,
    EVALUATED,
    JUDGED,
    JUDGED_CODED,
    KEEP,
    NOT_RESCORED,
    VERDICTS,
)
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, item_key


def _parts(context: RunContext) -> dict[str, Any]:
    config = context.config
    parts = {"filter": config.filter.semantic(), "teacher_is_cosine": config.embed.similarity == "cosine"}
    if config.filter.gives_probabilities:
        parts |= {"seed": config.seed, "top_k": config.retrieve.top_k}
    if "calibrated" in rule_names(config.filter):  # its threshold depends on how many are chosen
        parts["num_negatives"] = config.emit.num_negatives
    return parts


def _plan_calibrate(context: RunContext, key: str) -> list[Item]:
    rows = Shards(context.reading("retrieve"), CANDIDATES).rows
    output = context.folder("filter") / "calibration" / CALIBRATION_FILE
    return [Item(output, rows=rows, key=item_key(key, "calibrate", 0, rows))]


def _calibrate(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    if not context.config.filter.gives_probabilities:
        return CALIBRATION.empty_table()
    protocol = ProtocolRows.of(FilterInputs.open(context).batches, context.config)
    return calibrate(protocol, context.config).to_table()


def _plan(context: RunContext, key: str) -> list[Item]:
    return shard_items(Shards(context.reading("retrieve"), CANDIDATES), context.folder("filter"), key)


def _setup(context: RunContext) -> FilterInputs:
    return FilterInputs.open(context, read_calibration(context.folder("filter"), context.config.seed))


def _process(inputs: FilterInputs, item: Item, tick: Tick) -> pa.Table:
    parts = [JUDGED.empty_table()]
    for piece in slices(inputs.read(item.number)):
        parts.append(_with_verdicts(piece, inputs, inputs.keys(piece.column("query_row").to_numpy())))
        tick(piece.num_rows)
    return pa.concat_tables(parts)


def _with_verdicts(table: pa.Table, inputs: FilterInputs, keys: TextKeys) -> pa.Table:
    batch = Batch.from_table(table)
    found = give_verdicts(batch, inputs.config.filter, keys, inputs.scorer)
    cells, anchors = found.cells, found.cells.anchors
    names = pa.DictionaryArray.from_arrays(pa.array(found.codes), pa.array(list(VERDICTS))).cast(pa.string())
    if found.probabilities is None:
        none = list_array(np.zeros(len(anchors.values) + 1, dtype=np.int64), pa.array([], pa.float32()))
        probabilities = list_array(anchors.offsets, none)
    else:
        probabilities = cells.nest(batch, pa.array(found.probabilities.astype(np.float32)))
    columns = [
        *table.select(CANDIDATES.names).columns,
        anchors.to_arrow(pa.float32()),
        cells.nest(batch, names),
        probabilities,
        batch.candidates.with_values(keys.is_judged(batch)).to_arrow(pa.bool_()),
        positive_percentiles(batch).to_arrow(pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=JUDGED)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    shards = Shards(context.folder("filter"), JUDGED_CODED)
    found = in_threads(lambda number: _counts(shards, number), range(len(shards)))
    totals = sum((total for total, _, _ in found), np.zeros(len(VERDICTS), dtype=np.int64))
    counts: dict[str, Any] = {
        "queries": shards.rows,
        "anchors": sum(anchors for _, anchors, _ in found),
        "anchors_without_candidates": sum(empty for _, _, empty in found),
        "verdicts": dict(zip(VERDICTS, totals.tolist(), strict=True)),
    }
    if not uses_rescored(context.config):
        del counts["verdicts"][NOT_RESCORED]
    if not context.config.input.has_evaluation:
        del counts["verdicts"][EVALUATED]
    warning = empty_rows(counts)
    return counts | ({"warning": warning} if warning else {})


def _counts(shards: Shards, number: int) -> tuple[np.ndarray, int, int]:
    """Return the counts of a shard: cells with each verdict, anchors, and anchors without a kept candidate."""
    column = shards.read(number, ["verdicts"]).column(0)
    codes = verdict_codes(column)
    lengths = np.concatenate([pc.list_value_length(chunk.flatten()) for chunk in column.chunks])
    before, ends = np.concatenate([[0], np.cumsum(codes == CODES[KEEP])]), np.cumsum(lengths)
    empty = int((before[ends] == before[ends - lengths]).sum())
    return np.bincount(codes, minlength=len(VERDICTS)), len(ends), empty


def empty_rows(counts: Mapping[str, Any]) -> str | None:
    """Return how many anchors have no candidate left and which verdict did most; None where most anchors have one.

    `counts` are those of the manifest of filter. What would help is found by the report, which tries settings.
    """
    empty, anchors = counts["anchors_without_candidates"], counts["anchors"]
    if not anchors or empty <= anchors / 2:
        return None
    rejected = {name: count for name, count in counts["verdicts"].items() if name not in BY_LABEL_OR_COPY}
    worst = max(rejected, key=lambda name: rejected[name], default=None)
    text = f"the filter leaves {empty:,} of {anchors:,} rows without a candidate"
    if worst is None or not rejected[worst]:
        return f"{text}: all candidates are positives or copies"
    return f"{text}, most of them by {worst}"


STAGE = Stage(
    name="filter",
    version=4,
    reads=("ingest", "retrieve"),
    parts=_parts,
    also_reads=lambda context: ("rescore",) if uses_rescored(context.config) else (),
    steps=(
        Step("calibrate", "queries", _plan_calibrate, no_setup, _calibrate),
        Step("judge", "queries", _plan, _setup, _process, write_lists),
    ),
    finish=_finish,
)
