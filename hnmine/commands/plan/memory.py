"""Peak memory of a process of each stage: Python and libraries, data kept or streamed, candidates of a shard.

The constants are fitted to the runs of docs/benchmarks.md ("Predicted memory").
"""

from hnmine.commands.plan.workload import Workload
from hnmine.config.models import TeacherTable
from hnmine.runtime.worker_slot import CHOOSING_THREADS, MODEL_BYTES, cache_bytes, kept_texts
from hnmine.search.bfloat16_products import bfloat16_budget
from hnmine.stages.emit.clusters import POINTS as CLUSTER_POINTS
from hnmine.stages.emit.clusters import cluster_count
from hnmine.stages.filter.hidden_positives import HIDINGS, MOST_QUERIES
from hnmine.stages.filter.inputs import CELLS
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.stages.retrieve.step import FEWEST_QUERIES, PAIRS
from hnmine.storage.vectors import BLOCK_BYTES, BLOCK_ROWS

MB = 1e6
BASE = {
    "ingest": 195 * MB, "embed": 205 * MB, "index": 156 * MB, "retrieve": 139 * MB, "rescore": 205 * MB,
    "hubs": 190 * MB, "filter": 190 * MB, "emit": 225 * MB, "report": 205 * MB,
}  # fmt: skip
"""Python with the imports of a stage, and its buffers of a fixed size."""
DOCUMENT_ENTRY, QUERY_ENTRY, LABEL_ENTRY = 320.0, 1100.0, 80.0
"""ingest's tables of ids and texts: a document in two dictionaries (257 bytes right after they grew), a query, and
each of its positives after the first."""
ROW_GROUP_ROWS, TEXT_COPIES = 1 << 20, 1.45
"""Parquet input is read by row groups, of a million rows unless the writer chose otherwise; memory over their size."""
SHARD_COPIES = 6.0
"""A shard of precomputed vectors as read, selected, checked, converted and written."""
BLOCK_COPIES = 1.2
"""A block of vectors while it is read: the mapped file, and the shards that are concatenated."""
THREAD_BYTES, THREAD_CANDIDATE_BYTES = 60 * MB, 160_000.0
"""A thread of the search: its tiles of scores and the library's buffer; and for each candidate, of 512 queries."""
FIT_BASE, FIT_CELL, MEASURED_CELL = 15 * MB, 220.0, 150.0
"""Fit of the calibrated rule: the sample that it is fitted on, and a row of the protocol; in the report, a row."""
DOCUMENT_KEYS = 92.0
"""The text key of a document, sorted with its positions and counts."""
CHOSEN_BYTES, EMITTED_BYTES = 180.0, 40.0
"""A chosen negative: in the report, eleven numbers and their concatenation; in emit."""
CANDIDATE, PAIR = {"retrieve": 40, "filter": 60, "emit": 50, "report": 40}, {"retrieve": 20, "filter": 48, "emit": 40}
"""A candidate of the current shard, and its pair with a positive."""
LEFT_BEHIND = 80 * MB
"""What earlier stages leave in a process that runs all of them in turn."""
WORD_COPIES = 4.0
"""bm25: the words of the corpus over its text, while the index is built."""
LISTED_BYTES, PLACE_BYTES = 24.0, 8.0
"""A document while inverted lists are made (its list, its position, its vector's destination) and searched."""


def streamed(vectors: float, cache: float) -> float:
    """Return the memory of vectors (bytes) read in blocks: those kept, at most `cache` bytes, and the current block."""
    kept, block = min(vectors, cache), min(vectors, float(BLOCK_BYTES))
    return kept + block * BLOCK_COPIES + min(block, vectors - kept)


def peaks(work: Workload, kind: str, threads: int, *, separate: bool = False) -> dict[str, float]:
    """Return the peak bytes of one process of each stage, with an index of a kind (flat, hnsw or ivf).

    `separate` says whether the report's shards are measured in other processes ("measure") than the one that puts it
    together ("report"). One process keeps part of what the first step took, so both are added then.
    """
    config, documents, cache = work.config, work.documents, cache_bytes(work.config)
    keys = DOCUMENT_KEYS * documents
    group = min(documents, ROW_GROUP_ROWS) * work.document_bytes * TEXT_COPIES
    entries = documents * (DOCUMENT_ENTRY + work.id_bytes) + work.queries * QUERY_ENTRY
    labels = LABEL_ENTRY * work.queries * max(0.0, work.positives - 1)
    # a sample of queries, each hidden some times, with its candidates
    protocol = min(work.queries, MOST_QUERIES) * min(work.positives, HIDINGS) * config.retrieve.max_candidates
    fit = FIT_BASE + FIT_CELL * protocol if config.filter.gives_probabilities else 0.0
    gathered = 2 * min(documents, work.query_share * work.negatives * 1.2, BLOCK_ROWS) * 4.0 * work.dim
    measure = BASE["report"] + streamed(work.held_vectors(), cache) + gathered + _shard(work, "report")
    report = BASE["report"] + (DOCUMENT_KEYS + 8) * documents + CHOSEN_BYTES * work.negatives + MEASURED_CELL * protocol
    found = {
        "ingest": BASE["ingest"] + entries + labels + group,
        "embed": BASE["embed"] + max(_embed(work, table) for table in config.teachers),
        "index": BASE["index"] + _index(work, kind),
        "retrieve": _retrieve(work, kind, threads),
        "filter": BASE["filter"] + keys + fit + _shard(work, "filter"),
        "emit": _emit(work),
        "report": report if separate else measure + report - BASE["report"],
    }
    if config.rescore is not None:
        found["rescore"] = BASE["rescore"] + (MODEL_BYTES if config.rescore.loads_model else 0)
    if normalises_hubs(config):  # documents' sums, and a shard's scores to random documents
        listed = config.shard_rows * (8.0 * config.retrieve.background * 4 + 40 * config.retrieve.max_candidates)
        found["hubs"] = BASE["hubs"] + 28.0 * work.summed + listed
    return found | ({"measure": measure} if separate else {})


def _shard(work: Workload, stage: str) -> float:
    """Return the memory of the candidates of one shard of queries during a stage; those of many pairs are cut."""
    listed = work.config.retrieve.max_candidates + work.positives
    pairs, least = (PAIRS, FEWEST_QUERIES) if stage == "retrieve" else (CELLS, 1)
    most = max(least, pairs / (listed * max(1.0, work.positives)))
    queries = min(work.queries, work.config.shard_rows, most)
    return queries * listed * (CANDIDATE[stage] + PAIR.get(stage, 0) * work.positives)


def _embed(work: Workload, table: TeacherTable) -> float:
    """Return the memory of a teacher: a model's, or that of its precomputed vectors."""
    teacher = work.config.teachers[table]
    if teacher.model != "precomputed":
        return MODEL_BYTES if teacher.loads_model else 0.0
    row, documents = 4.0 * work.dims[table], work.documents
    shard = min(documents, work.config.shard_rows) * row * SHARD_COPIES
    return shard + documents * (3 * work.id_bytes + 40)


def _index(work: Workload, kind: str) -> float:
    """Return the memory of building an index, and of building bm25; or of a sparse encoder, if that is more."""
    words = any(source.kind == "bm25" for source in work.config.retrieve.source)
    found, vectors = WORD_COPIES * work.text_bytes if words else 0.0, work.held_vectors()
    if work.config.encoders:
        found = max(found, MODEL_BYTES)
    if kind == "flat":
        return found
    found += vectors + work.hnsw_links if kind == "hnsw" else LISTED_BYTES * work.documents
    return found + streamed(vectors, cache_bytes(work.config))


def _retrieve(work: Workload, kind: str, threads: int) -> float:
    """Return the peak of retrieve. A process loads a whole HNSW graph, or the positions of all documents in lists."""
    config, cache, found = work.config, float(cache_bytes(work.config)), BASE["retrieve"]
    if kind == "flat" and config.index.splits == 1:
        room = bfloat16_budget(config, (work.documents, work.queries, work.dim), lambda: True)
        if room is not None:
            found += room
            cache = max(0.0, cache - room)
    for table in config.teachers:
        found += streamed(work.held_vectors(table), cache)
        cache = max(0.0, cache - work.held_vectors(table))
    thread = THREAD_BYTES + THREAD_CANDIDATE_BYTES * config.retrieve.max_candidates
    found += min(work.held_terms, cache) + threads * thread
    if kind == "hnsw":
        found += work.held_vectors() + work.hnsw_links
    elif kind == "ivf":
        found += PLACE_BYTES * work.documents
    return found + _shard(work, "retrieve")


def _emit(work: Workload) -> float:
    """Return the peak of emit: all chosen negatives, and the candidates and texts of a shard for each thread."""
    config = work.config
    texts = 2 * work.query_share * work.negatives * work.document_bytes
    found = BASE["emit"] + EMITTED_BYTES * work.negatives + texts + min(work.text_bytes, kept_texts(config))
    if config.emit.draws_random or config.emit.relabels:
        found += DOCUMENT_KEYS * work.documents
    if config.emit.draws_random or config.emit.relabels or config.emit.choose == "diverse":
        found += streamed(work.held_vectors(), cache_bytes(config))
    if "cluster_weight" in config.emit.extra_columns:  # vectors that k-means is fitted on, as read and normalised
        points = min(work.documents, CLUSTER_POINTS * cluster_count(config.emit, work.documents))
        found += 2 * 4.0 * work.dim * points
    judged = _shard(work, "filter") if config.emit.relabels else 0.0
    return found + max(judged, min(CHOOSING_THREADS, work.query_shards) * _shard(work, "emit"))
