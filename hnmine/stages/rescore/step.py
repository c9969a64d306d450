"""The stage rescore: a cross-encoder's scores of each query's best candidates and of its positives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged, list_array, single_array
from hnmine.arrays.random_numbers import random_pairs
from hnmine.config.served import is_served
from hnmine.config.tables import Config
from hnmine.errors import ModelError
from hnmine.models.cross_encoders import HASH_RESCORE_WARNING, CrossScorer, make_cross_scorer
from hnmine.models.model_files import fingerprint
from hnmine.models.served_rerankers import SERVED_QUERIES, ServedReranker
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, shard_items
from hnmine.stages.rescore.served import PAIRS, PAIRS_FOLDER, identity_of, recorded_identity, served_counts
from hnmine.stages.rescore.spending import margin_settings, to_score
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.schemas.rescore import RANDOM_PAIRS, RESCORES
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards, item_key, part_name, with_counts

CELL_ROWS = 32
"""Consecutive queries whose pairs are batched together; 256 is a multiple of it.

The padding of a pair, and with it the last bits of its score, then do not depend on the shard size.
"""
_READ = ["query_id", "query_row", "doc_rows", "positive_rows", "scores", "positive_scores", "background_mean"]


@dataclass(frozen=True)
class _State:
    config: Config
    model: str
    corpus: Shards
    queries: Shards
    candidates: Shards
    scorer: CrossScorer

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query row, document row), float32."""
        asked = self.queries.take(queries, ["text"]).column(0).to_pylist()
        texts = self.corpus.take(documents, ["text"]).column(0).to_pylist()
        scores = self.scorer.score(list(zip(asked, texts, strict=True)))
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise ModelError(
                f"rescore.model {self.model!r} gave a score that is not finite for {len(bad):,} pairs, the "
                f"first query row {queries[bad[0]]:,}, document row {documents[bad[0]]:,}; check the model"
            )
        return scores


def _parts(context: RunContext) -> dict[str, Any]:
    config = context.config.rescore
    assert config is not None
    kept = config.semantic()
    for name in ("model", "revision", "trust_remote_code", "served_model"):
        kept.pop(name, None)  # the fingerprint says which weights these are
    model: dict[str, Any] = {"cross_encoder": "hash", "version": 1, "warning": HASH_RESCORE_WARNING}
    if is_served(config.model):
        model = identity_of(context)
    elif config.model != "hash":
        files = fingerprint(config, context.digests, "rescore", local=context.local_models)["files_sha256"]
        model = {"cross_encoder": "sentence-transformers", "files_sha256": files}
    parts = {"rescore": kept, "rescore_model": model, "seed": context.config.seed}
    return parts if config.spend == "top" else parts | {"margins": margin_settings(context.config.filter)}


def _setup(context: RunContext) -> _State:
    config, ingest = context.config.rescore, context.reading("ingest")
    assert config is not None
    corpus, queries = Shards(ingest / "corpus", CORPUS), Shards(ingest / "queries", QUERIES)
    candidates = Shards(context.reading("retrieve"), CANDIDATES)
    scorer = make_cross_scorer(config, recorded_identity(context.folder("rescore")))
    return _State(context.config, config.model, corpus, queries, candidates, scorer)


def _plan(context: RunContext, key: str) -> list[Item]:
    candidates, folder = Shards(context.reading("retrieve"), CANDIDATES), context.folder("rescore")
    if context.config.rescore is None or not is_served(context.config.rescore.model):
        return shard_items(candidates, folder, key)
    # small files whatever the shard size, so that little is paid for twice where a run is stopped
    items = []
    for number, first in enumerate(range(0, max(candidates.rows, 1), SERVED_QUERIES)):
        rows = min(SERVED_QUERIES, candidates.rows - first)
        items.append(Item(folder / part_name(number), number, first, rows, item_key(key, folder.name, first, rows)))
    return items


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    table = state.candidates.take(np.arange(item.first, item.first + item.rows), _READ)
    parts, cell = [RESCORES.empty_table()], SERVED_QUERIES if is_served(state.model) else CELL_ROWS
    for first in range(0, table.num_rows, cell):
        parts.append(_rescore(state, table.slice(first, cell)))
        tick(parts[-1].num_rows)
    return _counted(state, pa.concat_tables(parts))


def _counted(state: _State, table: pa.Table) -> pa.Table:
    """Return a table whose file will say what its scores took from a server; any other table unchanged."""
    return with_counts(table, state.scorer.take_counts()) if isinstance(state.scorer, ServedReranker) else table


def _rescore(state: _State, table: pa.Table) -> pa.Table:
    """Return the scores of a few queries' positives and of `to_score`; each (query, document) is scored once."""
    rows = table.column("query_row").to_numpy()
    candidates, positives = (Ragged.from_arrow(table.column(name)) for name in ("doc_rows", "positive_rows"))
    labelled = positives.contains(candidates.owners, candidates.values)
    scores, anchors = (Ragged.from_arrow(table.column(name)) for name in ("scores", "positive_scores"))
    floor = table.column("background_mean").to_numpy()
    asked = labelled | to_score(scores, ~labelled, anchors, floor, state.config)
    owners = np.concatenate([candidates.owners[asked], positives.owners])
    documents = np.concatenate([candidates.values[asked], positives.values])
    span = int(documents.max(initial=0)) + 1
    pairs, inverse = np.unique(owners * span + documents, return_inverse=True)
    found = state.score(rows[pairs // span], pairs % span)[inverse]
    of_candidates = int(asked.sum())
    given = np.zeros(len(asked), dtype=np.float32)
    given[asked] = found[:of_candidates]
    columns = {
        "query_id": table.column("query_id"),
        "query_row": table.column("query_row"),
        "doc_rows": candidates.to_arrow(pa.int64()),
        "scores": list_array(candidates.offsets, pa.array(given, mask=~asked), nullable=True),
        "positive_scores": positives.with_values(found[of_candidates:]).to_arrow(pa.float32()),
    }
    return pa.Table.from_arrays([columns[name] for name in RESCORES.names], schema=RESCORES)


def _plan_random(context: RunContext, key: str) -> list[Item]:
    output = context.folder("rescore") / PAIRS_FOLDER / part_name(0)
    return [Item(output, rows=PAIRS, key=item_key(key, PAIRS_FOLDER, 0, PAIRS))]


def _process_random(state: _State, item: Item, tick: Tick) -> pa.Table:
    """Return the scores of random pairs, those of a query with its own positive left out."""
    queries, documents = random_pairs(state.queries.rows, state.corpus.rows, PAIRS, state.config.seed)
    own = state.queries.take(queries, ["positive_rows"]).column(0)
    other = ~Ragged.from_arrow(own).contains(np.arange(len(queries)), documents)
    queries, documents = queries[other], documents[other]
    tick(item.rows)
    columns = [pa.array(queries), pa.array(documents), pa.array(state.score(queries, documents))]
    return _counted(state, pa.Table.from_arrays(columns, schema=RANDOM_PAIRS))


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    shards = Shards(context.folder("rescore"), RESCORES)
    counts: dict[str, Any] = {"queries": shards.rows, "scored": 0, "not_rescored": 0, "positives": 0}
    for number in range(len(shards)):
        table = shards.read(number, ["scores", "positive_scores"])
        flat = single_array(table.column("scores")).flatten()
        counts["scored"] += len(flat) - flat.null_count
        counts["not_rescored"] += flat.null_count
        counts["positives"] += len(Ragged.from_arrow(table.column("positive_scores")).values)
    counts["random_pairs"] = Shards(context.folder("rescore") / PAIRS_FOLDER, RANDOM_PAIRS).rows
    assert context.config.rescore is not None
    if is_served(context.config.rescore.model):
        counts["served"] = {"rescore": served_counts(context)}
    if context.config.rescore.model == "hash":
        counts["warning"] = HASH_RESCORE_WARNING
    return counts


STAGE = Stage(
    name="rescore",
    version=1,
    reads=("ingest.corpus", "ingest.queries", "retrieve"),
    parts=_parts,
    steps=(
        Step("score", "queries", _plan, _setup, _process, runs_model=True),
        Step("random", "pairs", _plan_random, _setup, _process_random, runs_model=True),
    ),
    finish=_finish,
    applies=lambda config: config.rescore is not None,
)
