"""The stage filter: a verdict for every candidate. No candidate is dropped, so other settings need no new retrieval."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import list_array
from hnmine.config.tables import Config
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup, shard_items, write_lists
from hnmine.runtime.threads import in_threads
from hnmine.stages.filter.bad_positives import positive_percentiles
from hnmine.stages.filter.calibration import calibrate
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.deeper_search import DeeperSearch, max_depth, searches_deeper, short_anchors
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import CALIBRATION_FILE, FilterInputs, read_calibration, slices
from hnmine.stages.filter.verdicts import CODES, give_verdicts, rule_names, verdict_codes
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
    if searches_deeper(config):
        parts["retrieve"] = {"max_top_k": config.retrieve.max_top_k}
    if searches_deeper(config) or "calibrated" in rule_names(config.filter):
        # whether a query has enough candidates, and a threshold, depend on how many are chosen
        parts["retrieved_negatives"] = config.emit.retrieved_negatives
    return parts


def _also_reads(context: RunContext) -> tuple[str, ...]:
    if uses_rescored(context.config):
        return ("rescore",)
    return ("embed", "index") if searches_deeper(context.config) else ()


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


@dataclass(frozen=True)
class _State:
    inputs: FilterInputs
    deeper: DeeperSearch | None


def _setup(context: RunContext) -> _State:
    inputs = FilterInputs.open(context, read_calibration(context.folder("filter"), context.config.seed))
    deeper = DeeperSearch(context, len(inputs.documents)) if searches_deeper(context.config) else None
    return _State(inputs, deeper)


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    return judge_candidates(state.inputs.read(item.number), state.inputs, state.deeper, tick)


def judge_candidates(
    table: pa.Table, inputs: FilterInputs, deeper: DeeperSearch | None = None, tick: Tick = lambda rows: None
) -> pa.Table:
    """Return candidates with their verdicts, by the schema `JUDGED`; `deeper` finds more for queries that are short."""
    parts = [JUDGED.empty_table()]
    for piece in slices(table):
        judged, short = _judge(piece, inputs)
        if deeper is not None:
            judged = deeper.extend(judged, short, partial(_judge_all, inputs=inputs))
        parts.append(judged)
        tick(piece.num_rows)
    return pa.concat_tables(parts)


def _judge_all(table: pa.Table, inputs: FilterInputs) -> tuple[pa.Table, np.ndarray]:
    """Return what `_judge` returns, for any number of candidates."""
    found = [(JUDGED.empty_table(), np.zeros(0, dtype=bool)), *(_judge(piece, inputs) for piece in slices(table))]
    return pa.concat_tables([judged for judged, _ in found]), np.concatenate([short for _, short in found])


def _judge(table: pa.Table, inputs: FilterInputs) -> tuple[pa.Table, np.ndarray]:
    """Return candidates with their verdicts, and which queries have a short anchor: see `short_anchors`."""
    batch, keys = Batch.from_table(table), inputs.keys(table.column("query_row").to_numpy())
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
    wanted = inputs.config.emit.retrieved_negatives
    short = short_anchors(found.codes, cells.anchor, len(anchors.values), wanted)
    return pa.Table.from_arrays(columns, schema=JUDGED), np.bincount(anchors.owners[short], minlength=len(batch)) > 0


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    config, shards = context.config, Shards(context.folder("filter"), JUDGED_CODED)
    found = in_threads(lambda number: _counts(shards, number, config), range(len(shards)))
    totals = sum((one.verdicts for one in found), np.zeros(len(VERDICTS), dtype=np.int64))
    counts: dict[str, Any] = {
        "queries": shards.rows,
        "anchors": sum(one.anchors for one in found),
        "anchors_without_candidates": sum(one.empty for one in found),
        "verdicts": dict(zip(VERDICTS, totals.tolist(), strict=True)),
    }
    if searches_deeper(config):
        counts |= {
            "queries_searched_deeper": sum(one.deeper for one in found),
            "deepest_list": max((one.deepest for one in found), default=0),
            "queries_short_at_max_top_k": sum(one.short for one in found),
        }
    if not uses_rescored(config):
        del counts["verdicts"][NOT_RESCORED]
    if not config.input.has_evaluation:
        del counts["verdicts"][EVALUATED]
    warning = empty_rows(counts)
    return counts | ({"warning": warning} if warning else {})


class _Counts(NamedTuple):
    """Counts of a shard.

    Attributes:
        verdicts: cells with each verdict, int64.
        anchors: number of anchors.
        empty: anchors without a kept candidate.
        deeper: queries with more candidates than `retrieve.top_k`, positives not counted.
        deepest: the most candidates of a query, likewise.
        short: queries with a short anchor that have as many candidates as a query may get.
    """

    verdicts: np.ndarray
    anchors: int
    empty: int
    deeper: int
    deepest: int
    short: int


def _counts(shards: Shards, number: int, config: Config) -> _Counts:
    column = shards.read(number, ["verdicts"]).column(0)
    codes = verdict_codes(column)
    lengths = np.concatenate([pc.list_value_length(chunk.flatten()) for chunk in column.chunks])
    anchors_of = np.concatenate([pc.list_value_length(chunk) for chunk in column.chunks])  # one at least
    anchor = np.repeat(np.arange(len(lengths)), lengths)
    kept = np.bincount(anchor[codes == CODES[KEEP]], minlength=len(lengths))
    starts = np.cumsum(anchors_of) - anchors_of
    counted = np.bincount(anchor[codes != CODES["positive"]], minlength=len(lengths))[starts]
    short = np.add.reduceat(short_anchors(codes, anchor, len(lengths), config.emit.retrieved_negatives), starts) > 0
    return _Counts(
        verdicts=np.bincount(codes, minlength=len(VERDICTS)),
        anchors=len(lengths),
        empty=int((kept == 0).sum()),
        deeper=int((counted > config.retrieve.top_k).sum()),
        deepest=int(counted.max(initial=0)),
        short=int((short & (counted >= max_depth(config))).sum()),
    )


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
    version=6,
    reads=("ingest", "retrieve"),
    parts=_parts,
    also_reads=_also_reads,
    steps=(
        Step("calibrate", "queries", _plan_calibrate, no_setup, _calibrate),
        Step("judge", "queries", _plan, _setup, _process, write_lists),
    ),
    finish=_finish,
)
