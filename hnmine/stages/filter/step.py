"""filter: a verdict for every candidate. Nothing is dropped, so another margin costs seconds and no retrieval."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, shard_items, write_lists
from hnmine.runtime.threads import in_threads
from hnmine.stages.filter.advice import empty_rows
from hnmine.stages.filter.bad_positives import standings
from hnmine.stages.filter.calibration import Protocol, calibrate
from hnmine.stages.filter.candidates import Batch, nest_lists, verdict_codes
from hnmine.stages.filter.inputs import CALIBRATION_FILE, FilterState, pieces, read_calibration, setup
from hnmine.stages.filter.verdicts import CODES, TextKeys, judge, rule_names
from hnmine.stages.rescore.rescored import uses_rescored
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.filter import CALIBRATION, JUDGED, JUDGED_CODED, KEEP, NOT_RESCORED, VERDICTS
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards


def _plan(context: RunContext, key: str) -> list[Item]:
    return shard_items(Shards(context.reading("retrieve"), CANDIDATES), context.folder("filter"), key)


def _plan_calibrate(context: RunContext, key: str) -> list[Item]:
    rows = Shards(context.reading("retrieve"), CANDIDATES).rows
    output = context.folder("filter") / "calibration" / CALIBRATION_FILE
    return [Item(output, rows=rows, key=item_key(key, "calibrate", 0, rows))]


def _calibrate(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    if not context.config.filter.gives_probabilities:
        return CALIBRATION.empty_table()
    return calibrate(Protocol.of(setup(context).pieces, context.config), context.config).to_table()


def _setup_judge(context: RunContext) -> FilterState:
    calibration = read_calibration(context.folder("filter"), context.config.seed)
    return setup(context, calibration.scorer() if calibration else None)


def _process(state: FilterState, item: Item, tick: Tick) -> pa.Table:
    table = state.read(item.number)
    parts = [JUDGED.empty_table()]
    for _, piece in pieces(table):
        parts.append(_judged(piece, state, state.keys(piece.column("query_row").to_numpy())))
        tick(piece.num_rows)
    return pa.concat_tables(parts)


def _judged(table: pa.Table, state: FilterState, keys: TextKeys) -> pa.Table:
    batch = Batch.from_table(table)
    judged = judge(batch, state.config.filter, keys, state.scorer)
    cells = judged.cells
    names = pa.DictionaryArray.from_arrays(pa.array(judged.codes), pa.array(list(VERDICTS))).cast(pa.string())
    columns = [*table.select(CANDIDATES.names).columns, cells.anchors.to_arrow(pa.float32()), cells.nest(batch, names)]
    if judged.probabilities is None:
        empty = Ragged(np.zeros(0, dtype=np.float32), np.zeros(len(cells.anchors.values) + 1, dtype=np.int64))
        inner = empty.to_arrow(pa.float32())
        columns.append(nest_lists(cells.anchors.offsets, inner))
    else:
        columns.append(cells.nest(batch, pa.array(judged.probabilities.astype(np.float32))))
    columns.append(batch.candidates.with_values(keys.is_judged(batch)).to_arrow(pa.bool_()))
    columns.append(standings(batch).to_arrow(pa.float32()))
    return pa.Table.from_arrays(columns, schema=JUDGED)


def _parts(context: RunContext) -> dict[str, Any]:
    config = context.config
    parts = {"filter": config.filter.semantic(), "teacher_is_cosine": config.embed.similarity == "cosine"}
    if config.filter.gives_probabilities:
        parts |= {"seed": config.seed, "top_k": config.retrieve.top_k}
    if "calibrated" in rule_names(config.filter):  # its threshold depends on how many are chosen
        parts["num_negatives"] = config.emit.num_negatives
    return parts


def _counted(shards: Shards, number: int) -> tuple[np.ndarray, int, int]:
    """Return of a shard how many cells have each verdict, how many anchors there are, and how many keep nothing."""
    column = shards.read(number, ["verdicts"]).column(0)
    codes = verdict_codes(column)
    lengths = np.concatenate([pc.list_value_length(chunk.flatten()) for chunk in column.chunks])
    before, ends = np.concatenate([[0], np.cumsum(codes == CODES[KEEP])]), np.cumsum(lengths)
    nothing = int((before[ends] == before[ends - lengths]).sum())
    return np.bincount(codes, minlength=len(VERDICTS)), len(ends), nothing


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    shards = Shards(context.folder("filter"), JUDGED_CODED)
    found = in_threads(lambda number: _counted(shards, number), range(len(shards)))
    totals = sum((total for total, _, _ in found), np.zeros(len(VERDICTS), dtype=np.int64))
    anchors, empty = sum(count for _, count, _ in found), sum(count for _, _, count in found)
    rescored = uses_rescored(context.config)
    verdicts = {
        name: total for name, total in zip(VERDICTS, totals.tolist(), strict=True) if rescored or name != NOT_RESCORED
    }
    counts = {"queries": shards.rows, "anchors": anchors, "anchors_without_candidates": empty, "verdicts": verdicts}
    warning = empty_rows(counts, context.config.filter)
    return counts | ({"warning": warning} if warning else {})


STAGE = Stage(
    name="filter",
    version=3,
    reads=("ingest", "retrieve"),
    parts=_parts,
    also_reads=lambda context: ("rescore",) if uses_rescored(context.config) else (),
    steps=(
        Step("calibrate", "queries", _plan_calibrate, lambda context: context, _calibrate),
        Step("judge", "queries", _plan, _setup_judge, _process, write_lists),
    ),
    finish=_finish,
)
