"""Cost model of `hnmine plan --cluster`: a row of formulas for each step of a run, their evaluation, and the limits.

No formula reads a file. Seconds are those of one core of the machine that docs/benchmarks.md was measured on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hnmine.arrays.kmeans import ROUNDS
from hnmine.commands.plan.cluster import ClusterConfig
from hnmine.commands.plan.disk import (
    BM25_BYTES,
    CLUSTER_BYTES,
    HUB_BYTES,
    MIXTURE_BYTES,
    ORDER_BYTES,
    TERM_BYTES,
    sparse_bytes,
)
from hnmine.commands.plan.memory import peaks
from hnmine.commands.plan.workload import (
    STORED_INPUT,
    STORED_REST,
    STORED_TEXT,
    STORED_WORDS,
    Workload,
    shard_count,
    touched,
)
from hnmine.config.tables import Config
from hnmine.display import format_size, parse_size
from hnmine.runtime.worker_slot import cache_bytes, kept_texts
from hnmine.search.exact import QUERY_BLOCK
from hnmine.search.ivf import POINTS, default_list_count
from hnmine.search.search_plan import MAKING, SMALL, choose_index
from hnmine.search.sources import source_stage
from hnmine.stages.emit.clusters import POINTS as CLUSTER_POINTS
from hnmine.stages.emit.clusters import cluster_count
from hnmine.stages.emit.formats import OF_IDS
from hnmine.stages.hubs.normalised import normalises_hubs
from hnmine.storage.vectors import BLOCK_ROWS

INGEST_SECONDS_A_BYTE, INGEST_SECONDS_A_QUERY = 8e-8, 2e-5
"""Reading, hashing and splitting a document into words: 5.1 s for 200,000 documents of 345 bytes, 10.3 s for 1,000,000
of 95. A query with 2.5 labels: 0.18 s for 10,000."""
DIGEST_SECONDS_A_BYTE = 2.0e-9
"""blake2b over the input, the first thing a run does: 400 to 610 MB/s."""
SECONDS_A_CANDIDATE, SECONDS_A_CANDIDATE_AND_NUMBER = 6e-6, 2.4e-8
"""retrieve apart from its matrix product: 8 and 15 microseconds a candidate with vectors of 64 and 384 numbers."""
FILTER_SECONDS, CHOOSE_SECONDS, WRITE_SECONDS, MEASURE_SECONDS, REPORT_SECONDS = 6.8e-7, 2.0e-7, 2.7e-7, 7.0e-7, 7.0e-7
"""Per candidate. Measured with 100,000 queries, seconds a million candidates: filter 0.68, emit 0.47, report 1.42."""
PAIR_SECONDS_A_NUMBER = 3.6e-10
"""A product of two numbers where each pair of vectors is multiplied by itself, as in hubs: 0.14 s for 1,024,000 pairs
of 384 numbers."""
ORDER_SECONDS, MIXTURE_SECONDS = 1e-5, 3e-7
"""Ordering an example by the hardness of its negatives: 0.03 to 0.04 s for 4,416. Drawing a synthetic negative: 0.02 s
for 70,656."""
MERGE_SECONDS = 1e-7
"""Merging a candidate of one part of the corpus."""
FIT_SECONDS, PROTOCOL_SECONDS = 3.0, 20.0
"""On at most 2,000 queries of any collection: fitting the calibrated rule and its threshold in filter (3.5 s of CPU
time with judging, 10,000 queries of 100 candidates); measuring settings on hidden positives in the report."""
KEYS_SECONDS_A_DOCUMENT = 3e-7
"""Sorting the text keys of all documents, which every process that judges does: 0.29 microseconds a document."""
WORDS_SECONDS_A_BYTE, QUERY_SECONDS, QUERY_SECONDS_A_DOCUMENT = 1.3e-7, 1e-4, 5e-9
"""BM25. Building its index, for each byte of text: 1.2e-7 to 1.9e-7 (SciFact, Vaswani, Perspectrum). A query, and a
query for each document: 1.2e-4 s with 5,000 documents, 2.7e-4 to 3.2e-4 with 31,000 and 69,000."""
READY_SECONDS_A_NUMBER, STORED_SECONDS_A_NUMBER = 6e-9, 1.5e-8
"""Ready vectors: reading a number from Parquet, 0.20 to 0.25 s for 100,000 vectors of 384; checking, normalising and
writing it, 0.55 s."""
POSTING_SECONDS = 1e-7
"""Sorting a term of a document into the index of a sparse source: 0.5 s for 4.7 million."""
HNSW_SECONDS_A_DOCUMENT = 5.4e-4
"""One thread, 384 numbers, 100,000 documents; grows with the logarithm of the number of documents."""
PASSES, PASSES_A_TEACHER = 4, 2
"""Passes over all vectors for a block of queries: vectors of the positives, matrix product, exact scores, cosines to
the positives. Every further teacher has two of its own."""
IN_PARTS = 2
"""The passes that go over one part where the corpus is searched in parts: matrix product and exact scores."""
PRODUCT_SHARES = {"flat": 1.0, "ivf": 0.2 / SMALL, "hnsw": 0.0}
"""Operations of the product relative to exact search: lists with a recall of 0.99 hold a fifth of the documents."""

ROWS, INT32 = 2**32 - 1, 2**31 - 1
"""Most documents: a search key holds a row in 32 bits (arrays/topk.py). Most values of an Arrow list or string."""
LONG_HOURS, LONG_START = 24.0, 120.0
"""Hours of a step in one process, and seconds before a process begins, that count as too long."""


@dataclass(frozen=True)
class Step:
    """One row: the work of a step, in total over its tasks; `once_` marks what every process does before its first."""

    stage: str
    name: str
    tasks: int = 1  # shards that can be processed in parallel; 1 means one process does all
    single: float = 0.0  # core seconds
    threaded: float = 0.0  # core seconds that the threads of a task share
    flops: float = 0.0  # float32 operations of matrix products, shared by threads
    passages: float = 0.0  # documents and queries that a model embeds
    read: float = 0.0  # bytes
    written: float = 0.0  # bytes
    files: float = 0.0  # files opened
    once_seconds: float = 0.0
    once_read: float = 0.0
    once_written: float = 0.0
    once_files: float = 0.0


def steps(work: Workload, kind: str) -> Iterator[Step]:
    """Yield the rows in order, without those of [rescore], whose cost is unknown; `kind` is flat, hnsw or ivf."""
    given = work.text_bytes + work.queries * work.query_bytes
    seconds = given * INGEST_SECONDS_A_BYTE + work.queries * INGEST_SECONDS_A_QUERY
    files, written = work.corpus_shards + work.query_shards, given * STORED_INPUT
    yield Step("ingest", "digest of the input", single=given * DIGEST_SECONDS_A_BYTE, read=given)
    yield Step("ingest", "read and write", single=seconds, read=given, written=written, files=files)
    yield from _embed(work)
    yield from _encoded(work)
    yield from _index(work, kind)
    yield from _retrieve(work, kind)
    yield from _hubs(work)
    yield from _filter(work)
    yield from _emit(work)
    yield from _report(work)


def _embed(work: Workload) -> Iterator[Step]:
    """Yield a row for each teacher. Every process reads all precomputed vectors, taken to be in the corpus' order."""
    for table, teacher in work.config.teachers.items():
        documents, raw = work.embedded(table), work.held_vectors(table)
        tasks = shard_count(documents, work.config.shard_rows)
        written = work.stored_vectors(table) + work.queries * 4.0 * work.dims[table]
        if teacher.model == "precomputed":
            yield Step(
                "embed", f"ready vectors ({table})", tasks, written=written, files=tasks, once_read=raw,
                once_seconds=READY_SECONDS_A_NUMBER * raw / 4 + KEYS_SECONDS_A_DOCUMENT * documents,
                once_files=work.corpus_shards, single=STORED_SECONDS_A_NUMBER * raw / 4,
            )  # fmt: skip
        else:
            yield Step(
                "embed", f"vectors ({table})", tasks, written=written, files=tasks, once_files=work.corpus_shards,
                read=STORED_TEXT * work.text_bytes * documents / work.documents,
                passages=documents + work.queries * work.query_bytes / work.document_bytes,
            )  # fmt: skip


def _encoded(work: Workload) -> Iterator[Step]:
    """Yield two rows for each sparse encoder: its model, and its index, which one process makes of what is encoded."""
    stage = source_stage(work.config)
    tasks, texts = work.corpus_shards, work.documents + work.queries * work.query_bytes / work.document_bytes
    for source in work.config.retrieve.source:
        if source.encoder is not None:
            size = sparse_bytes(work, source.encoder)
            yield Step(
                stage, f"weights of {source.label}", tasks, written=size / 2, files=tasks, passages=texts,
                once_files=work.corpus_shards, read=STORED_TEXT * work.text_bytes,
            )  # fmt: skip
            yield Step(
                stage, f"index of {source.label}", single=POSTING_SECONDS * size / (2 * TERM_BYTES), read=size,
                written=size / 2, files=2.0 * tasks,
            )  # fmt: skip


def _index(work: Workload, kind: str) -> Iterator[Step]:
    """Yield the rows of building indexes, each in one process and thread; exact search has none."""
    settings, documents, vectors = work.config.index, work.documents, work.stored_vectors()
    for label in _word_sources(work.config):
        yield Step(
            "index", f"words of {label}", single=WORDS_SECONDS_A_BYTE * work.text_bytes,
            read=STORED_TEXT * work.text_bytes, written=BM25_BYTES * work.text_bytes, files=work.corpus_shards,
        )  # fmt: skip
    if kind == "hnsw":
        growth = max(1.0, math.log(documents) / math.log(1e5))
        seconds = HNSW_SECONDS_A_DOCUMENT * documents * growth * work.dim / 384
        yield Step("index", "HNSW, one thread", single=seconds, read=vectors, written=vectors + work.hnsw_links)
    elif kind == "ivf":
        lists = settings.ivf_lists or default_list_count(documents)
        compared = (documents + ROUNDS * min(documents, POINTS * lists)) * lists / MAKING
        flops = 2.0 * (compared + documents * settings.recall_sample) * work.dim
        yield Step("index", "lists, their recall", flops=flops, read=3 * vectors, written=vectors)


def _word_sources(config: Config) -> list[str]:
    """Return the labels of the sources of kind bm25."""
    return [source.label for source in config.retrieve.source if source.kind == "bm25"]


def _retrieve(work: Workload, kind: str) -> Iterator[Step]:
    """Yield the rows of retrieve. Every block of queries goes over all vectors `PASSES` times.

    With `index.splits` the product and its exact scores are tasks of one part and one shard of queries, other tasks
    merge the hits of the parts, and the remaining passes go over the whole corpus. Every process loads a whole HNSW
    graph, which replaces the pass of the product.
    """
    config, splits, tasks, rows = work.config, work.config.index.splits, work.query_shards, work.scored
    blocks = tasks * -(-min(work.queries, config.shard_rows) // QUERY_BLOCK)
    flops = sum(2.0 * work.queries * work.documents * dim * PRODUCT_SHARES[kind] for dim in work.dims.values())
    held, stored = (
        {table: size(table) for table in config.teachers} for size in (work.held_vectors, work.stored_vectors)
    )
    cache, corpus_files, hits = cache_bytes(config), 2.0 * work.corpus_shards, 8.0 * rows * splits
    if splits > 1:
        once, again = _reread(cache, [(held[t] / splits, stored[t] / splits, blocks * splits * IN_PARTS) for t in held])
        yield Step(
            "retrieve", "parts", tasks * splits, flops=flops, read=again, written=hits, once_read=once,
            once_files=corpus_files,
        )  # fmt: skip
        yield Step("retrieve", "merge", tasks, single=MERGE_SECONDS * rows * splits, read=hits, written=hits)
    done = IN_PARTS if splits > 1 else int(kind == "hnsw")
    passes = {table: (PASSES if table == "embed" else PASSES_A_TEACHER) - done for table in held}
    words = (work.held_terms, STORED_WORDS * work.text_bytes, blocks)
    once, again = _reread(cache, [*((held[t], stored[t], blocks * passes[t]) for t in held), words])
    of_words = {label: BM25_BYTES * work.text_bytes for label in _word_sources(config)}
    of_weights = {s.label: sparse_bytes(work, s.encoder) / 2 for s in config.retrieve.source if s.encoder is not None}
    for label, index in {**of_words, **of_weights}.items():
        seconds = QUERY_SECONDS + QUERY_SECONDS_A_DOCUMENT * work.documents
        what = f"words of {label}" if label in of_words else f"search of {label}"
        yield Step("retrieve", what, tasks, single=work.queries * seconds, once_read=index)
    yield Step(
        "retrieve", f"search ({kind})", tasks, flops=flops * (splits == 1), read=again, written=work.stored_candidates,
        threaded=rows * (SECONDS_A_CANDIDATE + SECONDS_A_CANDIDATE_AND_NUMBER * work.dim),
        files=blocks * work.corpus_shards * (again > 0) * PASSES + tasks,
        once_read=once + (stored["embed"] if kind == "hnsw" else 0), once_files=corpus_files,
    )  # fmt: skip


def _hubs(work: Workload) -> Iterator[Step]:
    """Yield the rows of hubs: every document over the bank, then every query's background once more."""
    config = work.config
    if not normalises_hubs(config):
        return
    bank, queries = min(config.filter.hub_queries, work.queries), work.queries * config.retrieve.background
    seconds = PAIR_SECONDS_A_NUMBER * work.dim
    yield Step(
        "hubs", "documents", work.corpus_shards, single=seconds * bank * work.summed, once_files=work.query_shards,
        read=work.summed * 4.0 * work.dim, once_read=work.stored_candidates, written=HUB_BYTES * work.summed,
    )  # fmt: skip
    listed = work.queries * config.retrieve.max_candidates
    yield Step(
        "hubs", "queries", work.query_shards, single=seconds * queries + 2e-7 * listed, read=work.stored_candidates,
        once_read=HUB_BYTES * work.summed, once_files=work.corpus_shards, written=4.0 * listed,
    )  # fmt: skip


def _filter(work: Workload) -> Iterator[Step]:
    """Yield the rows of filter. Every process sorts the text keys of all documents first."""
    tasks, read = work.query_shards, work.stored_candidates
    seconds = FILTER_SECONDS * work.queries * work.config.retrieve.max_candidates * work.positives / 2.5
    keys = _text_keys(work)
    if work.config.filter.gives_probabilities:
        yield Step("filter", "fit of the calibrated rule", single=FIT_SECONDS, read=read, files=tasks, **keys)
    yield Step("filter", "judge", tasks, single=seconds, read=read, written=work.stored_verdicts, **keys)


def _text_keys(work: Workload) -> dict[str, Any]:
    """Return what a process that judges does once: it sorts the text keys of all documents."""
    return {
        "once_seconds": KEYS_SECONDS_A_DOCUMENT * work.documents,
        "once_read": 8.0 * work.documents,
        "once_files": 2.0 * work.corpus_shards,
    }


def _emit(work: Workload) -> Iterator[Step]:
    """Yield the rows of emit. One process chooses; each shard of queries reads texts from most shards of the corpus."""
    tasks, corpus, verdicts, made = work.query_shards, work.corpus_shards, work.stored_verdicts, work.negatives
    text = (STORED_TEXT + STORED_REST / 2) * work.text_bytes
    opened = touched(corpus, made / tasks) + touched(corpus, work.queries * work.positives / tasks)
    once, again = _reread(kept_texts(work.config), [(work.text_bytes, text, tasks * opened / corpus)])
    choosing, writing = CHOOSE_SECONDS * work.candidates, WRITE_SECONDS * work.candidates
    if work.config.emit.relabels:  # at most, since only queries with further positives are judged again
        rows = work.queries * work.config.retrieve.max_candidates * work.config.emit.max_relabelled
        passes = min(work.config.emit.max_relabelled / work.positives, 1.0)
        yield Step("emit", "pick further positives", single=choosing, read=verdicts / 4, files=tasks)
        yield Step(
            "emit", "judge again", tasks, single=FILTER_SECONDS * rows * work.positives / 2.5,
            threaded=passes * work.scored * (SECONDS_A_CANDIDATE + SECONDS_A_CANDIDATE_AND_NUMBER * work.dim),
            read=2 * verdicts, written=verdicts, files=tasks, **_text_keys(work),
        )  # fmt: skip
    yield Step("emit", "choose", single=choosing, read=verdicts / 2, written=made * 12, files=tasks)
    yield from _clusters_and_order(work)
    yield Step(
        "emit", "write", tasks, single=writing, read=verdicts / 2 + again, written=work.emitted_bytes,
        files=again / text * corpus, once_read=once, once_files=2.0 * corpus,
    )  # fmt: skip


def _clusters_and_order(work: Workload) -> Iterator[Step]:
    """Yield the rows of emit that only some settings have: k-means, order, synthetic negatives, tables of texts.

    K-means is one process and one thread; it compares products as the making of inverted lists does.
    """
    emit, tasks, corpus, verdicts = work.config.emit, work.query_shards, work.corpus_shards, work.stored_verdicts
    examples = work.queries * work.positives
    if "cluster_weight" in emit.extra_columns:
        count, rows = cluster_count(emit, work.documents), min(float(work.documents), work.negatives + examples)
        compared = (ROUNDS * min(work.documents, CLUSTER_POINTS * count) + rows) * count / MAKING
        yield Step(
            "emit", "clusters by k-means", flops=2.0 * compared * work.dim, files=2.0 * corpus + tasks,
            read=2 * work.stored_vectors() + verdicts / 2, written=CLUSTER_BYTES * rows,
        )  # fmt: skip
    if emit.order != "by_query":
        yield Step(
            "emit", "order", single=ORDER_SECONDS * examples, read=verdicts / 2, written=ORDER_BYTES * examples,
            files=tasks,
        )  # fmt: skip
    if emit.mixes:
        mixtures = examples * (emit.mixing + emit.mixing_query)
        yield Step(
            "emit", "synthetic negatives", tasks, single=MIXTURE_SECONDS * mixtures, read=verdicts / 4,
            written=MIXTURE_BYTES * mixtures, files=tasks,
        )  # fmt: skip
    if not set(OF_IDS).isdisjoint(emit.formats):
        yield Step(
            "emit", "texts", corpus, read=STORED_TEXT * work.text_bytes + verdicts / 4, files=2.0 * corpus + tasks
        )


def _report(work: Workload) -> Iterator[Step]:
    """Yield the rows of report. Shards read the vectors of the chosen documents; one process makes the report."""
    tasks, corpus, verdicts, stored = work.query_shards, work.corpus_shards, work.stored_verdicts, work.stored_vectors()
    passes = math.ceil(work.negatives / tasks / (BLOCK_ROWS // 2))
    once, again = _reread(cache_bytes(work.config), [(work.held_vectors(), stored, tasks * passes)])
    yield Step(
        "report", "measure", tasks, single=MEASURE_SECONDS * work.candidates, read=verdicts + again,
        files=again / stored * corpus, once_read=once, once_files=2.0 * corpus,
    )  # fmt: skip
    yield Step(
        "report", "put together", read=3 * verdicts + STORED_TEXT * work.text_bytes, files=3 * tasks + 4.0 * corpus,
        single=PROTOCOL_SECONDS + REPORT_SECONDS * work.candidates + KEYS_SECONDS_A_DOCUMENT * work.documents,
    )  # fmt: skip


def _reread(cache: float, data: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the bytes that each process reads once, and the bytes that are read over and over by all tasks.

    Args:
        cache: bytes that a process may keep.
        data: (bytes in memory, bytes on disk, times read) of each kind of data; earlier ones are kept first.
    """
    once = again = 0.0
    for held, stored, times in data:
        kept = min(held, cache)
        cache -= kept
        once += stored * kept / held
        again += times * stored * (1 - kept / held)
    return once, again


class TaskSlots(NamedTuple):
    """Places for tasks: nodes in use, tasks at once on a node, threads of a task, tasks at once on a node's GPUs."""

    nodes: int
    per_node: int
    threads: int
    models: int

    @classmethod
    def of(cls, config: Config, cluster: ClusterConfig) -> "TaskSlots":
        """Return the slots of an engine: one process, `workers` on one node, or as many as all nodes fit (Ray)."""
        if config.engine == "ray":
            per_node = max(1, int(cluster.cores // config.task_cpus))
            gpus = config.model_gpus
            models = min(per_node, int(cluster.gpus // gpus)) if gpus else per_node
            return cls(cluster.nodes, per_node, max(1, int(config.task_cpus)), models)
        per_node = 1 if config.engine == "inline" else config.workers
        return cls(1, per_node, max(1, cluster.cores // per_node), per_node)


class Estimate(NamedTuple):
    """The cost of a step on a cluster."""

    step: Step
    at_once: int  # processes that work on its tasks in parallel
    per_node: int  # those of them on one node
    hours: float  # from the first task to the last; a task reads, computes and writes in turn, so these times add up
    bound: str  # where most of the time goes: computing, storage or files (opening them)
    read: float  # bytes, by all processes
    written: float  # bytes, by all processes


def estimate(step: Step, slots: TaskSlots, cluster: ClusterConfig) -> Estimate:
    """Return the cost of a step.

    T tasks, n of them at once, take ceil(T / n) rounds of one task's work, after what a process does once. The process
    that was started looks at every output file before and after the step.
    """
    at_once = max(1, min(step.tasks, slots.nodes * (slots.models if step.passages else slots.per_node)))
    nodes = min(slots.nodes, at_once)
    rounds = math.ceil(step.tasks / at_once) / step.tasks
    threads = slots.threads if step.tasks > 1 or step.threaded else 1
    computing = rounds * (step.single + step.threaded / slots.threads) / cluster.core_speed
    computing += rounds * step.flops / (cluster.gflops * 1e9 * threads) + step.once_seconds / cluster.core_speed
    if step.passages:
        machines = min(at_once, nodes * cluster.gpus) if cluster.gpus else nodes
        computing += step.passages / (cluster.passages_per_second * machines)
    bandwidth = min(nodes * cluster.storage, cluster.storage_in_all or math.inf)
    moved = rounds * (step.read + step.written) + step.once_read + step.once_written
    opened = rounds * step.files + step.once_files + 2 * step.tasks
    seconds = {
        "computing": computing,
        "storage": moved / (1e6 * min(bandwidth / at_once, cluster.storage)),
        "files": opened * cluster.file_seconds,
    }
    return Estimate(
        step, at_once, math.ceil(at_once / nodes), sum(seconds.values()) / 3600, max(seconds, key=lambda k: seconds[k]),
        step.read + at_once * step.once_read, step.written + at_once * step.once_written,
    )  # fmt: skip


def _limit(
    name: str, needs: float, has: float, then: str, show: Callable[[float], str] = format_size
) -> dict[str, Any]:
    return {"name": name, "value": show(needs), "bound": show(has), "use": needs / has, "then": then}


def limits(
    work: Workload, cluster: ClusterConfig, memory: dict[str, float], estimates: Sequence[Estimate]
) -> list[dict[str, Any]]:
    """Return every limit of the code and of the machines, the highest use first. docs/scale.md gives their sources.

    `memory` are the peak bytes of a process of each stage, as `memory.peaks` returns them; `estimates` are of all
    steps. A limit has a name; value and bound: what the run needs and what there is, formatted; use: the first over the
    second, above 1 where it is exceeded; then: what happens above 1, and what to do about it.
    """
    config, count, seconds = work.config, "{:,.0f}".format, "{:,.0f} s".format
    listed = min(work.queries, config.shard_rows) * (config.retrieve.max_candidates + work.positives)
    texts, ids = work.query_share * work.negatives * work.document_bytes, work.documents * work.id_bytes
    first = max((one.step for one in estimates), key=lambda step: step.once_files)
    found = [
        _limit("row numbers of documents", work.documents, ROWS,
               "retrieve refuses: a row does not fit into 32 bits; mine the corpus in parts", count),
        _limit("candidates of a shard", listed, INT32,
               "one Arrow list array holds no more values; lower shard_rows", count),
        _limit("texts of a shard's negatives", texts, INT32,
               "emit fails: a string array holds no more bytes; lower shard_rows"),
        *(_memory_limit(name, peak, cluster, estimates) for name, peak in memory.items()),
        *(_limit(f"hours of {one.step.stage}: {one.step.name}", one.hours, LONG_HOURS,
                 "nothing breaks, but it is one process, and more nodes do not shorten it", "{:.1f} h".format)
          | {"bound": f"{LONG_HOURS:g} h"} for one in estimates if one.step.tasks == 1),
        _limit(f"seconds until a process of {first.stage} begins", first.once_files * cluster.file_seconds, LONG_START,
               "nothing breaks, but every process opens every shard of the corpus first; raise shard_rows", seconds),
    ]  # fmt: skip
    if any(teacher.model == "precomputed" for teacher in config.teachers.values()):
        then = "embed fails: ids are looked up in one string array; give vectors as .npy in the order of the input"
        found.append(_limit("ids of ready vectors", ids, INT32, then))
    if work.pooled:
        needs = sum(map(work.held_vectors, config.teachers)) + work.held_terms
        then = "nothing breaks, but the rest is read again for every 1,024 queries; raise memory, one task a node"
        name = "vectors and words that a process of retrieve keeps"
        found.append(_limit(name, needs, max(1, cache_bytes(config)), then))
    return sorted(found, key=lambda limit: -float(limit["use"]))


def _memory_limit(name: str, peak: float, cluster: ClusterConfig, estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return the limit of a node's memory for all its processes of a stage, or of the report's step "measure"."""
    own = (one.per_node for one in estimates if name == ("measure" if one.step.name == "measure" else one.step.stage))
    count = max(own, default=1)
    advice = "fewer processes a node (task_cpus), or a lower memory" if count > 1 else "take a larger node"
    if count == 1 and name in ("retrieve", "measure"):  # which keep as many vectors as `memory` allows
        advice = "lower memory, or take a larger node"
    title = f"memory of {'report: measure' if name == 'measure' else name}"
    found = _limit(title, count * peak, parse_size(cluster.memory), f"a process is killed; {advice}")
    return found | {"value": f"{count} x {format_size(peak)}" if count > 1 else format_size(peak)}


def cluster_plan(work: Workload, cluster: ClusterConfig) -> dict[str, Any]:
    """Return what a run needs on a cluster: its steps, hours and moved_bytes in total, index, limits and warnings."""
    kind, why = choose_index(work.config, work.documents, work.queries, work.dim)
    slots = TaskSlots.of(work.config, cluster)
    estimates = [estimate(step, slots, cluster) for step in steps(work, kind)]
    memory = peaks(work, kind, slots.threads, separate=work.pooled)
    rows = [
        {
            "stage": one.step.stage, "step": one.step.name, "tasks": one.step.tasks, "at_once": one.at_once,
            "hours": one.hours, "bound": one.bound,
            "memory_bytes": round(memory.get(one.step.name, memory[one.step.stage])),
            "read_bytes": round(one.read), "written_bytes": round(one.written),
        }
        for one in estimates
    ]  # fmt: skip
    return {
        "steps": rows,
        "hours": sum(one.hours for one in estimates),
        "moved_bytes": round(sum(one.read + one.written for one in estimates)),
        "index": f"{kind} ({why})",
        "limits": limits(work, cluster, memory, estimates),
        "warnings": list(_warnings(work.config, cluster, slots, kind)),
    }


def _warnings(config: Config, cluster: ClusterConfig, slots: TaskSlots, kind: str) -> Iterator[str]:
    if slots.nodes < cluster.nodes:
        yield f"{cluster.nodes} nodes are given, but engine is {config.engine!r} and works on one; take ray"
    if config.model_gpus and slots.models == 0 and config.engine == "ray":
        yield f"tasks with a model ask for {config.model_gpus:g} GPUs, and a node has {cluster.gpus}"
    if kind != "flat" and config.index.kind == "auto":
        yield f"index.kind = 'auto' tries {kind}: it counts one core, and knows neither of nodes nor of memory"
    if config.rescore is not None:
        yield "[rescore] is not in the hours: nothing says how many pairs a second its model scores"
