"""Sources of kind sparse: texts as weights of terms by a sparse encoder, stored in shards, and the index over them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hnmine.arrays.ragged import Ragged
from hnmine.config.retrieve import MAX_SOURCES, SourceConfig, encoder_table
from hnmine.config.tables import Config
from hnmine.models.cells import SIDES, CellEncoder, cell_items, texts_key
from hnmine.models.model_files import fingerprint
from hnmine.models.sparse_encoders import SPARSE_CELL_ROWS, SparseModelEncoder
from hnmine.runtime.stage import Item, RunContext, Step, Tick, write_lists
from hnmine.search.candidate_pool import Hits
from hnmine.search.postings import Postings, postings_file
from hnmine.storage.schemas.base import conform
from hnmine.storage.schemas.index import SPARSE, SPARSE_TERMS
from hnmine.storage.store import Shards, TextReader, digest, read_table, write_atomic

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FOLDER = "sparse"
VERSION = 1
"""Raised when the same model and settings give other weights."""


def encoder_parts(context: RunContext, number: int) -> dict[str, Any]:
    """Return what determines the weights that a source's encoder gives: its settings and its files.

    Raises:
        ModelError: there is no such model.
    """
    table = encoder_table(number)
    encoder = context.config.encoders[table]
    kept = encoder.semantic()
    for name in ("model", "revision", "trust_remote_code"):
        del kept[name]  # the fingerprint says which weights these are
    model = fingerprint(encoder, context.digests, table, local=context.local_models)
    return {**kept, "files_sha256": model["files_sha256"], "version": VERSION}


def side_folders(config: Config) -> list[str]:
    """Return the folders of all encoded texts, relative to the stage that encodes them."""
    labels = [source.label for source in config.retrieve.source if source.encoder is not None]
    return [f"{FOLDER}/{label}/{side}" for label in labels for side in SIDES]


def encoding_steps(stage: str, applies: Callable[[Config], bool]) -> tuple[Step, ...]:
    """Return the steps of a stage that encode the texts for each source that may be sparse.

    `applies` says whether it is this stage that encodes them under a config.
    """
    return tuple(
        Step(
            f"{FOLDER}-{number + 1}", "texts", partial(_plan, stage, applies, number), partial(_setup, number),
            _process, write_lists, runs_model=True,
        )
        for number in range(MAX_SOURCES)
    )  # fmt: skip


def _plan(stage: str, applies: Callable[[Config], bool], number: int, context: RunContext, key: str) -> list[Item]:
    """Return an item for each file of encoded documents, then of encoded queries.

    Their keys depend on the texts and the encoder alone, so they are kept when something else of the stage changes.
    """
    if encoder_table(number) not in context.config.encoders or not applies(context.config):
        return []
    items, parts = list[Item](), encoder_parts(context, number)
    for side, (_, schema) in SIDES.items():
        folder = context.folder(stage) / FOLDER / context.config.retrieve.source[number].label / side
        rows, texts = Shards(context.reading("ingest") / side, schema).rows, texts_key(context, stage, side)
        own = key if texts is None else digest({"encoder": parts, "side": side, "texts": texts})
        items += cell_items(folder, own, rows, context.config.shard_rows, SPARSE_CELL_ROWS)
    return items


@dataclass(frozen=True)
class _State:
    cells: dict[str, CellEncoder]


def _setup(number: int, context: RunContext) -> _State:
    table = encoder_table(number)
    encoder = SparseModelEncoder(context.config.encoders[table], table)
    cells = {}
    for side, (kind, schema) in SIDES.items():
        shards = Shards(context.reading("ingest") / side, schema)
        cells[side] = CellEncoder(encoder, TextReader(shards), kind, shards.rows, table)
    return _State(cells)


def _process(state: _State, item: Item, tick: Tick) -> pa.Table:
    from scipy.sparse import vstack

    found = vstack(list(state.cells[item.output.parent.name].parts(item, tick)), format="csr")
    lists = [Ragged(values, found.indptr.astype(np.int64)) for values in (found.indices, found.data)]
    kinds = (pa.int32(), pa.float32())
    return pa.Table.from_arrays([own.to_arrow(kind) for own, kind in zip(lists, kinds, strict=True)], schema=SPARSE)


def build_sparse_index(encoded: Path, table: Path, tick: Tick) -> pa.Table:
    """Return the table of terms (`schemas.SPARSE_TERMS`), and write its postings beside `table`, where it belongs.

    Args:
        encoded: folder of the encoded documents.
        table: where the table is written later; it is written last and has the key.
        tick: counts documents.

    The documents are read shard by shard, so memory is that of one shard, whatever the size of the corpus.
    """
    shards, lengths = Shards(encoded, SPARSE), np.zeros(0, dtype=np.int64)
    for number in range(len(shards)):
        own = np.bincount(_matrix(shards, number).indices, minlength=len(lengths))
        own[: len(lengths)] += lengths
        lengths = own
    starts = np.concatenate([[0], np.cumsum(lengths)])

    def fill(documents: Path, scores: Path) -> None:
        rows = np.lib.format.open_memmap(documents, "w+", np.int32, (int(starts[-1]),))
        weights = np.lib.format.open_memmap(scores, "w+", np.float32, (int(starts[-1]),))
        filled = starts[:-1].copy()
        for number in range(len(shards)):
            matrix = _matrix(shards, number)
            by_term = matrix.tocsc()
            counts = np.diff(by_term.indptr)
            places = np.repeat(filled[: len(counts)] - by_term.indptr[:-1], counts) + np.arange(by_term.nnz)
            rows[places], weights[places] = by_term.indices + shards.offsets[number], by_term.data
            filled[: len(counts)] += counts
            tick(matrix.shape[0])

    files = [postings_file(table, name) for name in ("documents", "scores")]
    write_atomic(files[0], lambda documents: write_atomic(files[1], lambda scores: fill(documents, scores)))
    columns = (np.arange(len(lengths)), starts[:-1], lengths)
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, SPARSE_TERMS, strict=True)], schema=SPARSE_TERMS
    )


def _matrix(shards: Shards, number: int) -> "csr_array":
    """Return the encoded texts of a shard, shape (texts, terms), where terms end with the last that a text has."""
    from scipy.sparse import csr_array

    terms, weights = (Ragged.from_arrow(column) for column in shards.read(number).columns)
    shape = (len(terms), int(terms.values.max(initial=-1)) + 1)
    return csr_array((weights.values, terms.values, terms.offsets), shape=shape)


class SparseSource:
    """The search of a sparse source.

    Args:
        table: file of the index's table of terms; the encoded texts are in the folder of the source's name beside it.
        source: the source's settings.
        documents: number of documents of the corpus.
    """

    def __init__(self, table: Path, source: SourceConfig, documents: int) -> None:
        terms = conform(read_table(table), SPARSE_TERMS, f"index/{FOLDER}/{table.name}")
        self.postings = Postings(table, terms.column("documents").to_numpy(), documents)
        self.queries = Shards(table.with_name(source.label) / "queries", SPARSE)
        self.documents = documents

    def search(self, rows: np.ndarray, wanted: np.ndarray, masks: Any = None) -> Hits:
        """Return the best documents of queries by their rows (int64): those that score above 0, ties by document row.

        A score is the dot product of query and document, summed in float32 over the query's terms in ascending order.
        `wanted` and `masks` are those of `Postings.search`.
        """
        terms, weights = (Ragged.from_arrow(column) for column in self.queries.take(rows, SPARSE.names).columns)
        known = terms.values < self.postings.terms
        terms, weights = terms.filter(known), weights.filter(known)
        spans = [slice(*terms.offsets[place : place + 2]) for place in range(len(rows))]
        return self.postings.search(((terms.values[span], weights.values[span]) for span in spans), wanted, masks)


def sparse_counts(config: Config, folder: Path) -> dict[str, Any]:
    """Return the mean number of terms of documents and queries by source, for the manifest; nothing without a source.

    `folder` is that of the stage that encoded them.
    """
    labels = [source.label for source in config.retrieve.source if source.encoder is not None]
    found = {label: {side: _mean_terms(folder / FOLDER / label / side) for side in SIDES} for label in labels}
    return {"mean_terms": found} if found else {}


def _mean_terms(folder: Path) -> float:
    shards = Shards(folder, SPARSE)
    total = sum(
        len(Ragged.from_arrow(shards.read(number, ["terms"]).column(0)).values) for number in range(len(shards))
    )
    return round(total / max(1, shards.rows), 1)
