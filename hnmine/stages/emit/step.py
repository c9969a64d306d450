"""emit: the training files. First the negatives are chosen over all queries, then texts are joined, shard by shard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import Ragged
from hnmine.config import Config
from hnmine.runtime.memory import kept_texts
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, shard_items
from hnmine.science.anchors import anchor_of_positive
from hnmine.science.positive_percentile import positive_weight
from hnmine.stages.emit.batches import step as batching
from hnmine.stages.emit.card import write_card
from hnmine.stages.emit.choice import choose_all
from hnmine.stages.emit.choose import CHOSEN_FILE, read_chosen
from hnmine.stages.emit.filter_columns import Known, guide_score, probabilities
from hnmine.stages.emit.formats import FORMATS, Examples
from hnmine.stages.emit.previous.previous_run import NEGATIVES_FILE, find_previous
from hnmine.stages.emit.previous.refresh import judge_previous, kept_of, read_previous
from hnmine.stages.emit.random_negatives import PREVIOUS, RANDOM, counts_of
from hnmine.stages.emit.source_labels import found_by, said
from hnmine.stages.filter.bad_positives import count_treated, is_emitted
from hnmine.stages.filter.verdicts import rule_names
from hnmine.stages.rescore.rescored import rescore_column
from hnmine.storage.keys import item_key
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.rescore import RESCORES
from hnmine.storage.store import Shards, count_rows, write_table, write_text

_WRITING = [
    "positive_rows", "positive_scores", "anchor_scores", "positive_standing", "doc_rows", "ranks", "source_ranks",
    "probabilities", "guide_scores",
]  # fmt: skip


def _plan_previous(context: RunContext, key: str) -> list[Item]:
    if context.config.previous is None:
        return []
    rows = Shards(context.reading("filter"), JUDGED).rows
    output = context.folder("emit") / "previous" / NEGATIVES_FILE
    return [Item(output, rows=rows, key=item_key(key, "previous", 0, rows))]


def _plan_choose(context: RunContext, key: str) -> list[Item]:
    rows = Shards(context.reading("filter"), JUDGED).rows
    output = context.folder("emit") / "chosen" / CHOSEN_FILE
    return [Item(output, rows=rows, key=item_key(key, "choose", 0, rows))]


def _itself(context: RunContext) -> RunContext:
    return context


@dataclass(frozen=True)
class _WriteState:
    config: Config
    judged: Shards
    corpus: Shards
    queries: Shards
    chosen: pa.Table
    starts: np.ndarray
    rescored: Shards | None
    batches: pa.Table | None
    previous: pa.Table | None


def _plan_write(context: RunContext, key: str) -> list[Item]:
    ending = "jsonl" if context.config.emit.format == "bge" else "parquet"
    return shard_items(Shards(context.reading("filter"), JUDGED), context.folder("emit"), key, ending)


def _setup_write(context: RunContext) -> _WriteState:
    ingest = context.reading("ingest")
    chosen = read_chosen(context.folder("emit"))
    return _WriteState(
        context.config,
        Shards(context.reading("filter"), JUDGED),
        Shards(ingest / "corpus", CORPUS, kept_texts(context.config)),
        Shards(ingest / "queries", QUERIES),
        chosen,
        chosen.column("query_row").to_numpy(),
        Shards(context.reading("rescore"), RESCORES) if _shows_rescored(context) else None,
        batching.read_batches(context.folder("emit")) if context.config.emit.batch_size else None,
        read_previous(context.folder("emit")) if context.config.previous is not None else None,
    )


def _process_write(state: _WriteState, item: Item, tick: Tick) -> pa.Table:
    examples = _examples(state, item)
    tick(item.rows)
    extra = [*state.config.emit.extra_columns, *(["batch_id"] if state.batches else [])]
    return FORMATS[state.config.emit.format](examples, extra)


def _examples(state: _WriteState, item: Item) -> Examples:
    """Return one example for each (query, positive) of a shard that gets rows, with its texts, ids and scores."""
    low, high = np.searchsorted(state.starts, [item.first, item.first + item.rows])
    chosen = state.chosen.slice(low, high - low)
    table = state.judged.read(item.number, _WRITING)
    positives = Ragged.from_arrow(table.column("positive_rows"))
    anchors = Ragged.from_arrow(table.column("anchor_scores"))
    which = np.flatnonzero(is_emitted(table, state.config))
    owners, served_by = positives.owners[which], anchor_of_positive(anchors, positives)[which]
    negatives = {name: Ragged.from_arrow(chosen.column(name)) for name in ("positions", "doc_rows", "scores")}
    lengths = negatives["doc_rows"].lengths[served_by]
    spread = negatives["doc_rows"].places(served_by)
    position, rows = (negatives[name].values[spread] for name in ("positions", "doc_rows"))
    ranks = Ragged.from_arrow(table.column("ranks"))
    at = pa.array(ranks.starts[np.repeat(owners, lengths)] + position, mask=position < 0)
    queries = state.queries.take(item.first + owners, ["query_id", "text"])
    documents = state.corpus.take(positives.values[which], ["doc_id", "text"])
    texts = state.corpus.take(rows, ["doc_id", "text"])
    known = Known.of(state.previous, (low, high), position, (np.repeat(served_by, lengths), rows))
    return Examples(
        wanted=state.config.emit.num_negatives,
        columns={
            "anchor": queries.column("text"), "query_id": queries.column("query_id"),
            "positive": documents.column("text"), "positive_id": documents.column("doc_id"),
            "positive_score": pa.array(Ragged.from_arrow(table.column("positive_scores")).values[which]),
            "anchor_score": pa.array(anchors.values[served_by]),
            "positive_weight": pa.array(_positive_weights(table, state.config)[which]),
            **batching.column(state.batches, item, lengths, state.config),
        },
        lengths=lengths,
        negatives={
            "negative": texts.column("text"), "negative_id": texts.column("doc_id"),
            "negative_score": pa.array(negatives["scores"].values[spread]),
            "rank": pa.array(ranks.values).take(at),
            "rule": _rules(state.config, position),
            "source": said(np.where(position == PREVIOUS, position, found_by(table, at)), state.config),
            **rescore_column(state.rescored, item.first + np.repeat(owners, lengths), rows),
            **probabilities(state.config, table, position, known),
            **guide_score(state.config, table, at, known),
        },
        soft_labels=state.config.emit.soft_labels,
    )  # fmt: skip


def _rules(config: Config, position: np.ndarray) -> pa.Array:
    """Return the rules that negatives in these positions have passed, null for random documents."""
    passed = np.zeros(len(position), dtype=np.int64)
    return pa.array(["+".join(rule_names(config.filter)) or "none"]).take(pa.array(passed, mask=position == RANDOM))


def _positive_weights(table: pa.Table, config: Config) -> np.ndarray:
    values = Ragged.from_arrow(table.column("positive_standing")).values
    return positive_weight(values, config.filter.bad_positive_quantile)


def _write(table: pa.Table, item: Item) -> None:
    if item.output.suffix == ".jsonl":
        write_text("".join(f"{line}\n" for line in table.column("line").to_pylist()), item.output, item.key)
    else:
        write_table(table, item.output, item.key)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    chosen = read_chosen(context.folder("emit"))
    chosen = chosen.filter(pc.greater(chosen.column("wanted"), 0))
    lengths = Ragged.from_arrow(chosen.column("positions")).lengths
    wanted = chosen.column("wanted").to_numpy()
    owners = chosen.column("query_row").to_numpy()
    rows = 0
    for path in sorted(context.folder("emit").glob("part-*")):
        rows += count_rows(path) if path.suffix == ".parquet" else _lines(path)
    counts = {
        "rows": rows,
        "examples": len(lengths),
        "examples_full": int((lengths == wanted).sum()),
        "examples_short": int(((lengths > 0) & (lengths < wanted)).sum()),
        "examples_without_negatives": int((lengths == 0).sum()),
        "queries_with_negatives": len(np.unique(owners[lengths > 0])),
        "negatives": int(lengths.sum()),
        "negatives_wanted": int(wanted.sum()),
        **counts_of(chosen, context.config),
        **({} if context.config.previous is None else kept_of(read_previous(context.folder("emit")))),
        **count_treated(Shards(context.reading("filter"), JUDGED), context.config),
        **batching.counts_of(context),
    }
    write_card(context, counts)
    return counts


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _also_reads(context: RunContext) -> tuple[str, ...]:
    config = context.config.emit
    remined = context.config.previous is not None
    columns = ("retrieve",) if (config.draws_random or remined) and context.config.retrieve.where else ()
    vectors = ("embed", *columns) if config.choose == "diverse" or config.draws_random or remined else ()
    if config.batch_size:
        vectors = ("embed", "retrieve")
    return (*vectors, *(("rescore",) if _shows_rescored(context) else ()))


def _shows_rescored(context: RunContext) -> bool:
    return "rescore_score" in context.config.emit.extra_columns


def _parts(context: RunContext) -> dict[str, Any]:
    parts: dict[str, Any] = {"emit": context.config.emit.semantic(), "seed": context.config.seed}
    if context.config.previous is not None:
        parts["previous"] = context.config.previous.part() | {"key": find_previous(context).emit["key"]}
    return parts


STAGE = Stage(
    name="emit",
    version=2,
    reads=("ingest", "filter"),
    also_reads=_also_reads,
    parts=_parts,
    steps=(
        Step("previous", "queries", _plan_previous, _itself, lambda context, item, tick: judge_previous(context, tick)),
        Step("choose", "queries", _plan_choose, _itself, lambda context, item, tick: choose_all(context, tick)),
        batching.STEP,
        Step("write", "queries", _plan_write, _setup_write, _process_write, _write),
    ),
    finish=_finish,
)
