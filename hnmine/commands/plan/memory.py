"""The memory that one process of each stage takes at its peak.

Each stage is a formula: what Python and its libraries take, what is kept or streams by, and what a shard's candidates
take while it is worked on. The constants are fitted to the runs of docs/benchmarks.md ("Predicted memory").
"""

from hnmine.commands.plan.sizes import Sizes, held_terms, held_vectors, negatives
from hnmine.config import Config
from hnmine.runtime.memory import CHOOSING_THREADS, MODEL_BYTES, TORCH_BYTES, cache_bytes, kept_texts
from hnmine.search.byte_products import byte_budget
from hnmine.stages.filter.hidden_positives import HIDINGS, MOST_QUERIES
from hnmine.storage.vectors import BLOCK_BYTES, BLOCK_ROWS

MB = 1e6
BASE = {
    "ingest": 195 * MB, "embed": 205 * MB, "index": 156 * MB, "retrieve": 139 * MB, "rescore": 205 * MB,
    "filter": 190 * MB, "emit": 225 * MB, "report": 205 * MB,
}  # fmt: skip
"""Python with what a stage imports, and its buffers of a size of their own."""
DOCUMENT_ENTRY, QUERY_ENTRY = 400.0, 1100.0
"""ingest's tables of ids and texts: a document in three dictionaries (315 bytes just after they grew), a query."""
ROW_GROUP_ROWS, TEXT_COPIES, VECTOR_COPIES = 1 << 20, 1.45, 1.37
"""The user's Parquet files are read by row groups, of a million rows where their writer did not say otherwise; what one
takes in memory, over its own size."""
SHARD_COPIES = 6.0
"""Ready vectors of a shard: as read, taken, checked, converted and written."""
BLOCK_COPIES = 1.2
"""A block of vectors while it is read: the mapped file, and the shards that are put together."""
THREAD_BYTES, THREAD_CANDIDATE_BYTES = 60 * MB, 160_000.0
"""A thread of the search: its tiles of scores and the library's buffer; and what a candidate of 512 queries adds."""
FIT_BASE, FIT_CELL, MEASURED_CELL = 57 * MB, 627.0, 150.0
"""The fit of the calibrated rule: scikit-learn, and a row (features in float64, and copies); in the report, a row."""
DOCUMENT_KEYS = 92.0
"""The text key of every document, sorted with its places and counts."""
CHOSEN_BYTES = 180.0
"""A chosen negative in the report: eleven numbers, and what they are put together from."""
CANDIDATE, PAIR = {"retrieve": 40, "filter": 60, "emit": 50, "report": 40}, {"retrieve": 20, "filter": 48, "emit": 40}
"""A shard's candidate, and its pair with a positive, while the shard is worked on."""
LEFT_BEHIND = 80 * MB
"""What earlier stages leave in a process that runs all of them, one after the other."""
WORD_COPIES = 4.0
"""bm25: the corpus' words over its text, while the index is built."""

LISTED_BYTES = 24.0
"""Of a document while lists are made: its list, its place, and where its vector goes."""


def streamed(vectors: float, cache: float) -> float:
    """Return the memory of vectors that go by in blocks: what is kept, and a block that is being read.

    Args:
        vectors: bytes of all of them.
        cache: bytes that may be kept.
    """
    kept, block = min(vectors, cache), min(vectors, float(BLOCK_BYTES))
    return kept + block * BLOCK_COPIES + min(block, vectors - kept)


def candidates(config: Config, sizes: Sizes, stage: str) -> float:
    """Return the memory of the candidates of one shard of queries while a stage works on them."""
    rows = min(sizes.queries, config.shard_rows) * (config.retrieve.max_candidates + sizes.positives)
    return rows * (CANDIDATE[stage] + PAIR.get(stage, 0) * sizes.positives)


def protocol_rows(config: Config, sizes: Sizes) -> float:
    """Return the rows of the hidden-positive protocol: a draw of queries, each some times, with its candidates."""
    return min(sizes.queries, MOST_QUERIES) * min(sizes.positives, HIDINGS) * config.retrieve.max_candidates


def of_ingest(config: Config, sizes: Sizes) -> float:
    """Return the peak of ingest, in bytes: every id and the hash of every text, of the whole collection."""
    group = min(sizes.documents, ROW_GROUP_ROWS) * sizes.document_bytes
    entries = sizes.documents * (DOCUMENT_ENTRY + sizes.id_bytes) + sizes.queries * QUERY_ENTRY
    judged = 80.0 * sizes.queries * max(0.0, sizes.positives - 1)
    return BASE["ingest"] + entries + judged + group * TEXT_COPIES


def of_embed(config: Config, sizes: Sizes) -> float:
    """Return the peak of embed, in bytes: the larger of a model and of ready vectors."""
    peaks = [0.0]
    for table, teacher in config.teachers.items():
        if teacher.model == "precomputed":
            row = 4.0 * sizes.dims[table]
            group, shard = min(sizes.documents, ROW_GROUP_ROWS), min(sizes.documents, config.shard_rows)
            ids = sizes.documents * (3 * sizes.id_bytes + 40)
            peaks.append(group * row * VECTOR_COPIES + shard * row * SHARD_COPIES + ids)
        elif teacher.model != "hash":
            peaks.append(MODEL_BYTES)
    return BASE["embed"] + max(peaks)


def of_index(config: Config, sizes: Sizes, kind: str) -> float:
    """Return the peak of the build of an index, in bytes; `kind` as `hnmine.search.search_plan.settle` says."""
    words = any(source.kind == "bm25" for source in config.retrieve.source)
    whole = BASE["index"] + (WORD_COPIES * sizes.text_bytes if words else 0.0)
    if kind == "flat":
        return whole
    vectors = held_vectors(config, sizes)
    if kind == "hnsw":
        whole += vectors + 8.0 * config.index.hnsw_links * sizes.documents
    else:
        whole += LISTED_BYTES * sizes.documents
    return whole + streamed(vectors, cache_bytes(config))


def of_retrieve(config: Config, sizes: Sizes, kind: str, threads: int) -> float:
    """Return the peak of retrieve, in bytes.

    Args:
        config: the whole config.
        sizes: of the collection.
        kind: flat, hnsw or ivf; every process loads a whole graph, and of lists where each document is.
        threads: of the process.
    """
    cache, found = float(cache_bytes(config)), BASE["retrieve"]
    whole = kind == "flat" and config.index.splits == 1
    room = byte_budget(config, (sizes.documents, sizes.queries, sizes.dim), lambda: True) if whole else None
    if room is not None:
        cache, found = max(0.0, cache - room - TORCH_BYTES), found + room + TORCH_BYTES
    for table in config.teachers:
        vectors = held_vectors(config, sizes, table)
        found += streamed(vectors, cache)
        cache = max(0.0, cache - vectors)
    each = THREAD_BYTES + THREAD_CANDIDATE_BYTES * config.retrieve.max_candidates
    found += min(held_terms(sizes), cache) + threads * each
    if kind == "hnsw":
        found += held_vectors(config, sizes) + 8.0 * config.index.hnsw_links * sizes.documents
    elif kind == "ivf":
        found += 8.0 * sizes.documents
    return found + candidates(config, sizes, "retrieve")


def of_filter(config: Config, sizes: Sizes) -> float:
    """Return the peak of filter, in bytes: the fit and the verdicts in one process, the larger process of the two."""
    fit = FIT_BASE + FIT_CELL * protocol_rows(config, sizes) if config.filter.gives_probabilities else 0.0
    return BASE["filter"] + DOCUMENT_KEYS * sizes.documents + fit + candidates(config, sizes, "filter")


def of_emit(config: Config, sizes: Sizes) -> float:
    """Return the peak of emit, in bytes: all chosen negatives, a shard's candidates and its texts."""
    shard = min(1.0, config.shard_rows / max(1, sizes.queries))
    texts = 2 * shard * negatives(config, sizes) * sizes.document_bytes
    keys = DOCUMENT_KEYS * sizes.documents if config.emit.draws_random else 0.0
    vectors = config.emit.draws_random or config.emit.choose == "diverse"
    gone_by = streamed(held_vectors(config, sizes), cache_bytes(config)) if vectors else 0.0
    chosen, kept = 40.0 * negatives(config, sizes), min(sizes.text_bytes, kept_texts(config))
    at_once = min(CHOOSING_THREADS, -(-sizes.queries // config.shard_rows))
    return BASE["emit"] + chosen + texts + kept + keys + gone_by + at_once * candidates(config, sizes, "emit")


def of_measure(config: Config, sizes: Sizes) -> float:
    """Return the peak of a process that measures one shard for the report, in bytes: vectors of the chosen."""
    shard = min(1.0, config.shard_rows / max(1, sizes.queries))
    rows = min(sizes.documents, shard * negatives(config, sizes) * 1.2, BLOCK_ROWS)
    gathered = 2 * rows * 4.0 * sizes.dim
    passes_by = streamed(held_vectors(config, sizes), cache_bytes(config))
    return BASE["report"] + passes_by + gathered + candidates(config, sizes, "report")


def of_together(config: Config, sizes: Sizes) -> float:
    """Return the peak of the process that puts the report together, in bytes: all chosen, and the protocol's rows."""
    keys = (DOCUMENT_KEYS + 8) * sizes.documents
    chosen, measured = CHOSEN_BYTES * negatives(config, sizes), MEASURED_CELL * protocol_rows(config, sizes)
    return BASE["report"] + keys + chosen + measured


def of_report(config: Config, sizes: Sizes) -> float:
    """Return the peak of report where one process does both, in bytes; what the first took is not all given back."""
    return of_measure(config, sizes) + of_together(config, sizes) - BASE["report"]


def peaks(config: Config, sizes: Sizes, kind: str, threads: int) -> dict[str, float]:
    """Return the peak of one process of every stage, in bytes.

    Args:
        config: the whole config.
        sizes: of the collection.
        kind: of index: flat, hnsw or ivf.
        threads: of a process.
    """
    found = {
        "ingest": of_ingest(config, sizes),
        "embed": of_embed(config, sizes),
        "index": of_index(config, sizes, kind),
        "retrieve": of_retrieve(config, sizes, kind, threads),
        "filter": of_filter(config, sizes),
        "emit": of_emit(config, sizes),
        "report": of_report(config, sizes),
    }
    if config.rescore is not None:
        found["rescore"] = BASE["rescore"] + (0 if config.rescore.model == "hash" else MODEL_BYTES)
    return found
