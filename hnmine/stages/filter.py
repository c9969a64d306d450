"""filter: a verdict for every candidate. Nothing is dropped, so another margin costs seconds and no retrieval."""

from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.calibrating import calibrate
from hnmine.candidates import Batch, nest_lists
from hnmine.filtering import CALIBRATION_FILE, FilterState, pieces, read_calibration, setup
from hnmine.judging import TextKeys, judge, rule_names
from hnmine.keys import item_key, shard_items
from hnmine.ragged import Ragged
from hnmine.schemas import CALIBRATION, CANDIDATES, JUDGED, VERDICTS
from hnmine.stage import Item, RunContext, Stage, Step, Tick
from hnmine.store import Shards


def _plan(context: RunContext, key: str) -> list[Item]:
    return shard_items(Shards(context.reading("retrieve"), CANDIDATES), context.folder("filter"), key)


def _plan_calibrate(context: RunContext, key: str) -> list[Item]:
    rows = Shards(context.reading("retrieve"), CANDIDATES).rows
    output = context.folder("filter") / "calibration" / CALIBRATION_FILE
    return [Item(output, rows=rows, key=item_key(key, "calibrate", 0, rows))]


def _calibrate(state: FilterState, item: Item, tick: Tick) -> pa.Table:
    if "calibrated" not in rule_names(state.config.filter):
        return CALIBRATION.empty_table()
    return calibrate(state.pieces, state.config).to_table()


def _setup_judge(context: RunContext) -> FilterState:
    calibration = read_calibration(context.folder("filter"), context.config.seed)
    return setup(context, calibration.scorer() if calibration else None)


def _process(state: FilterState, item: Item, tick: Tick) -> pa.Table:
    table = state.candidates.read(item.number)
    parts = [JUDGED.empty_table()]
    for first, piece in pieces(table):
        parts.append(_judged(piece, state, state.keys(item.first + first, piece.num_rows)))
        tick(piece.num_rows)
    return pa.concat_tables(parts)


def _judged(table: pa.Table, state: FilterState, keys: TextKeys) -> pa.Table:
    batch = Batch.from_table(table)
    judged = judge(batch, state.config.filter, keys, state.scorer)
    cells = judged.cells
    names = pa.DictionaryArray.from_arrays(pa.array(judged.codes), pa.array(list(VERDICTS))).cast(pa.string())
    columns = [*table.columns, cells.anchors.to_arrow(pa.float32()), cells.nest(batch, names)]
    if judged.probabilities is None:
        empty = Ragged(np.zeros(0, dtype=np.float32), np.zeros(len(cells.anchors.values) + 1, dtype=np.int64))
        inner = empty.to_arrow(pa.float32())
        columns.append(nest_lists(cells.anchors.offsets, inner))
    else:
        columns.append(cells.nest(batch, pa.array(judged.probabilities.astype(np.float32))))
    return pa.Table.from_arrays(columns, schema=JUDGED)


def _parts(context: RunContext) -> dict[str, Any]:
    config = context.config
    parts = {"filter": config.filter.semantic(), "teacher_is_cosine": config.embed.similarity == "cosine"}
    if "calibrated" in rule_names(config.filter):
        parts |= {"seed": config.seed, "num_negatives": config.emit.num_negatives, "top_k": config.retrieve.top_k}
    return parts


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    shards = Shards(context.folder("filter"), JUDGED)
    counts = dict.fromkeys(VERDICTS, 0)
    for number in range(len(shards)):
        verdicts = shards.read(number, ["verdicts"]).column(0)
        for chunk in verdicts.chunks:
            for pair in chunk.flatten().flatten().value_counts().to_pylist():
                counts[pair["values"]] += pair["counts"]
    return {"queries": shards.rows, "verdicts": counts}


STAGE = Stage(
    name="filter",
    version=2,
    reads=("ingest", "retrieve"),
    parts=_parts,
    steps=(
        Step("calibrate", "queries", _plan_calibrate, setup, _calibrate),
        Step("judge", "queries", _plan, _setup_judge, _process),
    ),
    finish=_finish,
)
