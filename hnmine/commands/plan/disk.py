"""Disk space of a run: what each stage leaves in the output folder."""

from hnmine.commands.plan.workload import STORED_INPUT, Workload
from hnmine.config.models import SparseConfig
from hnmine.search.ivf import default_list_count
from hnmine.search.split_search import split_bytes
from hnmine.stages.hubs.normalised import normalises_hubs

BM25_BYTES = 0.65
"""Bytes of a BM25 index per byte of document text: 0.52 (SciFact) to 0.87 (Perspectrum's short claims)."""
TERM_BYTES = 8.0
"""A term of a text and its weight, as the encoder gave them, and again in the index."""
RUN_BYTES = 24.0
"""A stored line of an imported run: two rows, a score and a rank."""
HNSW_ROW, LIST_ROW = 16.0, 8.0
"""Beside vectors and links, a document in an HNSW graph; and its place in inverted lists."""
FILE_BYTES = 5_000.0
"""A manifest, and the schema and statistics of a small Parquet file."""
CHOSEN_BYTES, BATCH_BYTES, REPORT_BYTES, REPORT_QUERY = 12.0, 30.0, 300_000.0, 90.0
"""A chosen negative, an example's place in a batch, report.html with report.json, and the report's row of a query."""
MIXTURE_BYTES = 6.0
"""A synthetic negative in emit/mixing: a share of 4 bytes and two small numbers."""
ORDER_BYTES, CLUSTER_BYTES = 13.0, 4.0
"""An example's place in emit/order, and a document's cluster in emit/clusters."""
HUB_BYTES = 28.0
"""A document's sums over the bank in hubs."""
RESCORED_BYTES = 8.0
"""A candidate in rescore: its row and its score; 4.4 to 5.2 on enlarged copies of the sample, whose rows are small."""


def disk_of_stages(work: Workload, kind: str) -> dict[str, float]:
    """Return about how many bytes each stage leaves on disk, with an index of a kind (flat, hnsw or ivf)."""
    config, examples = work.config, work.queries * work.positives
    queries = sum(work.queries * (8.0 + 4 * work.dims[table]) for table in config.teachers)
    found = {
        "ingest": STORED_INPUT * work.text_bytes + 4 * FILE_BYTES,
        "embed": sum(map(work.stored_vectors, config.teachers)) + queries + FILE_BYTES,
        "index": _index(work, kind) + FILE_BYTES,
        "retrieve": work.stored_candidates + split_bytes(config, work.queries) + FILE_BYTES,
        "filter": work.stored_verdicts + 2 * FILE_BYTES,
        "emit": work.emitted_bytes + CHOSEN_BYTES * work.negatives + 2 * FILE_BYTES,
        "report": REPORT_BYTES + REPORT_QUERY * work.queries + 2 * FILE_BYTES,
    }
    if config.emit.mixes:
        found["emit"] += examples * MIXTURE_BYTES * (config.emit.mixing + config.emit.mixing_query)
    if config.emit.order != "by_query":
        found["emit"] += ORDER_BYTES * examples
    if "cluster_weight" in config.emit.extra_columns:
        found["emit"] += CLUSTER_BYTES * min(work.documents, work.negatives + examples)
    if config.emit.batch_size is not None:
        found["emit"] += BATCH_BYTES * examples
    if config.emit.relabels:  # the filter's table once more
        found["emit"] += work.stored_verdicts + 2 * FILE_BYTES
    if config.rescore is not None:
        found["rescore"] = RESCORED_BYTES * (work.rescored + work.queries * work.positives) + FILE_BYTES
    if normalises_hubs(config):
        scored = config.retrieve.max_candidates + work.positives
        found["hubs"] = HUB_BYTES * work.summed + 4.0 * scored * work.queries + 2 * FILE_BYTES
    return found


def _index(work: Workload, kind: str) -> float:
    """Return the bytes of the index, and of what sources store: a copy of the vectors, graphs or lists, words, runs."""
    config, documents, found = work.config, work.documents, 0.0
    if kind == "hnsw":
        found += work.held_vectors() + work.hnsw_links + HNSW_ROW * documents
    elif kind == "ivf":
        lists = config.index.ivf_lists or default_list_count(documents)
        found += work.stored_vectors() + LIST_ROW * (documents + lists) + 4.0 * lists * work.dim
    for source, depth in zip(config.retrieve.source, config.retrieve.depths, strict=True):
        found += {"bm25": BM25_BYTES * work.text_bytes, "run": RUN_BYTES * work.queries * depth}.get(source.kind, 0.0)
    return found + sum(sparse_bytes(work, encoder) for encoder in config.encoders.values())


def sparse_bytes(work: Workload, encoder: SparseConfig) -> float:
    """Return the bytes of the texts that a sparse encoder encodes, and of the index over the documents."""
    documents = work.documents * work.sparse_terms(encoder)
    queries = documents * work.queries * work.query_bytes / max(1.0, work.text_bytes)
    return TERM_BYTES * (2 * documents + queries)
