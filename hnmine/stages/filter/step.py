"""The stage filter: a verdict for every candidate. No candidate is dropped, so other settings need no new retrieval."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import list_array
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, cut_shard_items, no_setup, write_lists
from hnmine.runtime.threads import in_threads
from hnmine.stages.filter.bad_positives import positive_percentiles
from hnmine.stages.filter.calibration import calibrate
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.deeper_search import DeeperSearch, searches_deeper, short_anchors
from hnmine.stages.filter.hidden_positives import ProtocolRows, hidden_counts
from hnmine.stages.filter.inputs import (
    CALIBRATION_FILE,
    CELLS,
    FilterInputs,
    read_calibration,
    slices,
)
from hnmine.stages.filter.shard_counts import COUNTED, counts_of_queries, shard_counts, total, verdict_counts
from hnmine.stages.filter.verdicts import countable_verdicts, give_verdicts, rule_names
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.rescore.rescored import reads_rescored, uses_rescored
from hnmine.storage.schemas.filter import (
    BY_LABEL_OR_COPY,
    CALIBRATION,
    EVALUATED,
    JUDGED,
    JUDGED_CODED,
    NOT_RESCORED,
    VERDICTS,
)
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, item_key, with_counts


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
    if normalises_hubs(context.config):
        return ("hubs",)
    if reads_rescored(context.config):
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
    shards, candidates = Shards(context.reading("retrieve"), CANDIDATES), context.config.retrieve.max_candidates
    return cut_shard_items(shards, context.folder("filter"), key, candidates, CELLS)


@dataclass
class _State:
    """The state of a process.

    Attributes:
        inputs: of the filter.
        deeper: the deeper search; None where the config has none.
        offsets: int64, the first row of each shard of retrieve, and the number of rows.
    """

    inputs: FilterInputs
    deeper: DeeperSearch | None
    offsets: np.ndarray
    _latest: tuple[int, pa.Table] | None = None

    def read(self, item: Item) -> pa.Table:
        """Return the candidates of an item; the shard that they are in is kept for the next one."""
        number = int(np.searchsorted(self.offsets, item.first, side="right")) - 1
        if self._latest is None or self._latest[0] != number:
            self._latest = None  # before the next is read
            self._latest = number, self.inputs.read(number)
        return self._latest[1].slice(item.first - int(self.offsets[number]), item.rows)


def _setup(context: RunContext) -> _State:
    inputs = FilterInputs.open(context, read_calibration(context.folder("filter"), context.config.seed))
    deeper = DeeperSearch(context, len(inputs.documents)) if searches_deeper(context.config) else None
    return _State(inputs, deeper, Shards(context.reading("retrieve"), CANDIDATES).offsets)


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    return judge_shard(state.read(item), state.inputs, state.deeper, tick)


def judge_candidates(table: pa.Table, inputs: FilterInputs, deeper: DeeperSearch | None = None) -> pa.Table:
    """Return candidates with their verdicts, by the schema `JUDGED`; `deeper` finds more for queries that are short."""
    return judge_shard(table, inputs, deeper).replace_schema_metadata()


def judge_shard(
    table: pa.Table, inputs: FilterInputs, deeper: DeeperSearch | None = None, tick: Tick = lambda rows: None
) -> pa.Table:
    """Return what `judge_candidates` returns, with the counts of `hnmine.stages.filter.shard_counts`."""
    parts, several, hidden = [_COUNTED.empty_table()], 0, 0
    for piece in slices(table):
        batch = Batch.from_table(piece)
        judged, short = _judge(piece, batch, inputs)
        several += int((batch.positives.lengths > 1).sum())
        hidden += int(hidden_counts(inputs.with_permitted(batch)).sum())
        if deeper is not None:
            judged = deeper.extend(judged, short, partial(_judge_all, inputs=inputs))
        parts.append(judged)
        tick(piece.num_rows)
    found = pa.concat_tables(parts)
    counts = total(found.column("counts"), inputs.config)
    counts |= {"queries": found.num_rows, "several": several, "hidden": hidden}
    return with_counts(_decoded(found), counts)


def _decoded(found: pa.Table) -> pa.Table:
    """Return judged candidates by the schema `JUDGED`, the verdicts as strings."""
    place = JUDGED.get_field_index("verdicts")
    # lists that are slices are copied first: a cast makes, for each slice, a whole copy of what it is a slice of
    verdicts = found.column("verdicts").combine_chunks().cast(JUDGED.field(place).type)
    return found.set_column(place, JUDGED.field(place), verdicts).select(JUDGED.names).cast(JUDGED)


_COUNTED = JUDGED_CODED.append(pa.field("counts", COUNTED))


def _judge_all(table: pa.Table, inputs: FilterInputs) -> tuple[pa.Table, np.ndarray]:
    """Return what `_judge` returns, for any number of candidates."""
    found = [(_COUNTED.empty_table(), np.zeros(0, dtype=bool))]
    found += in_threads(lambda piece: _judge(piece, Batch.from_table(piece), inputs), slices(table))
    return pa.concat_tables([judged for judged, _ in found]), np.concatenate([short for _, short in found])


def _judge(table: pa.Table, batch: Batch, inputs: FilterInputs) -> tuple[pa.Table, np.ndarray]:
    """Return candidates with their verdicts and counts, and which queries have a short anchor: see `short_anchors`.

    `batch` holds the arrays of the table.
    """
    keys = inputs.keys(table.column("query_row").to_numpy())
    found = give_verdicts(batch, inputs.config.filter, keys, inputs.scorer)
    cells, anchors = found.cells, found.cells.anchors
    names = pa.DictionaryArray.from_arrays(pa.array(found.codes.astype(np.int32)), pa.array(list(VERDICTS)))
    if found.probabilities is None:
        none = list_array(np.zeros(len(anchors.values) + 1, dtype=np.int64), pa.array([], pa.float32()))
        probabilities = list_array(anchors.offsets, none)
    else:
        probabilities = cells.nest(batch, pa.array(found.probabilities.astype(np.float32)))
    counts = verdict_counts(found.codes, cells.anchor, len(anchors.values))
    short = short_anchors(counts, inputs.config.emit.retrieved_negatives)
    columns = [
        *table.select(CANDIDATES.names).columns,
        anchors.to_arrow(pa.float32()),
        cells.nest(batch, names),
        probabilities,
        batch.candidates.with_values(keys.is_judged(batch)).to_arrow(pa.bool_()),
        positive_percentiles(batch).to_arrow(pa.float32()),
        counts_of_queries(counts, anchors, short),
    ]
    of_queries = np.bincount(anchors.owners[short], minlength=len(batch)) > 0
    return pa.Table.from_arrays(columns, schema=_COUNTED), of_queries


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    config, found = context.config, shard_counts(context.folder("filter"))

    def added(name: str) -> int:
        return sum(counts[name] for counts in found)

    counts: dict[str, Any] = {
        "queries": added("queries"),
        "anchors": added("anchors"),
        "anchors_without_candidates": added("empty"),
        "verdicts": {name: added(name) for name in countable_verdicts(config.filter)},
    }
    if searches_deeper(config):
        counts |= {
            "queries_searched_deeper": added("deeper"),
            "deepest_list": max((one["deepest"] for one in found), default=0),
            "queries_short_at_max_top_k": added("short"),
        }
    if not uses_rescored(config):
        del counts["verdicts"][NOT_RESCORED]
    if not config.input.has_evaluation:
        del counts["verdicts"][EVALUATED]
    warning = empty_rows(counts)
    return counts | ({"warning": warning} if warning else {})


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
