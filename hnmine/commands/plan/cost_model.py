"""What each step of a run does, as the code does it: tasks, operations, bytes read and written, files opened.

Times are of one core of the machine that docs/benchmarks.md was measured on; `schedule` turns them into hours of a
cluster. All functions are formulas over sizes; none reads a file.
"""

import math
from dataclasses import dataclass

from hnmine.commands.plan.sizes import (
    STORED_REST,
    STORED_TEXT,
    STORED_WORDS,
    Sizes,
    held_terms,
    held_vectors,
    negatives,
    stored_candidates,
    stored_vectors,
    stored_verdicts,
)
from hnmine.config import Config, TeacherTable
from hnmine.runtime.memory import cache_bytes, kept_texts
from hnmine.search.exact import QUERY_BLOCK
from hnmine.search.ivf import POINTS, ROUNDS, default_list_count
from hnmine.search.search_plan import MAKING, SMALL
from hnmine.storage.vectors import BLOCK_ROWS

INGEST_SECONDS_A_BYTE = 3.6e-7
"""Reading, hashing and taking apart one byte of a document: 32 s for 200,000 documents of 446 bytes."""
INGEST_SECONDS_A_QUERY = 8e-5
DIGEST_SECONDS_A_BYTE = 2.0e-9
"""blake2b over the input, before anything else: 400 to 610 MB/s."""
SECONDS_A_CANDIDATE, SECONDS_A_CANDIDATE_AND_NUMBER = 6e-6, 2.4e-8
"""retrieve besides its matrix product: 8 and 15 microseconds a candidate at 64 and 384 numbers a vector."""
FILTER_SECONDS, CHOOSE_SECONDS, WRITE_SECONDS, MEASURE_SECONDS, REPORT_SECONDS = 6.8e-7, 2.0e-7, 2.7e-7, 7.0e-7, 7.0e-7
"""A candidate: .68, .47 (in two steps) and 1.42 (in two) seconds a million, 100,000 queries, docs/benchmarks.md."""
FIT_SECONDS = 20.0
"""The fit of the calibrated rule and the measuring of it, on at most 2,000 queries whatever the collection."""
KEYS_SECONDS_A_DOCUMENT = 3e-7
"""Sorting the text keys of all documents, in every process that judges: .29 microseconds each."""
HNSW_SECONDS_A_DOCUMENT = 5.4e-4
"""One thread, 384 numbers, 100,000 documents; it grows with the logarithm of the documents."""
PASSES, PASSES_A_TEACHER = 4, 2
"""How often a block of queries goes through all vectors: for the positives' vectors, for the product, for the exact
scores of what it proposes, for the cosines to the positives. Another teacher takes two more of its own."""
IN_PARTS = 2
"""Passes that go through parts of the corpus where it has some: the product, and the exact scores."""

_SHARES = {"flat": 1.0, "ivf": 0.2 / SMALL, "hnsw": 0.0}
"""Operations of the product, over those of exact search: lists with a recall of .99 hold a fifth of the documents."""


@dataclass(frozen=True)
class Step:
    """The work of one step of a stage.

    Attributes:
        stage: its stage.
        name: what is done, in words.
        tasks: shards that can be worked on side by side; 1: one process does it all.
        threaded: seconds of one core that a task's threads share, all tasks together.
        single: seconds of one core that they do not.
        flops: float32 operations of matrix products, shared by threads.
        passages: documents and queries that a model embeds.
        read: bytes read, all tasks together, but for what each process reads once.
        written: bytes written.
        files: files opened, all tasks together.
        once_seconds, once_read, once_files: what each process does before its first task.
        once_written: bytes that each process puts in a temporary file.
    """

    stage: str
    name: str
    tasks: int
    threaded: float = 0.0
    single: float = 0.0
    flops: float = 0.0
    passages: float = 0.0
    read: float = 0.0
    written: float = 0.0
    files: float = 0.0
    once_seconds: float = 0.0
    once_read: float = 0.0
    once_files: float = 0.0
    once_written: float = 0.0


def shards(rows: float, shard_rows: int) -> int:
    """Return how many shards hold some rows, at least one."""
    return max(1, math.ceil(rows / shard_rows))


def touched(shards: float, rows: float) -> float:
    """Return how many of some shards hold at least one of some random rows, in the mean: S (1 - (1 - 1/S)^r).

    Args:
        shards: S, at least 1.
        rows: r.
    """
    return -shards * math.expm1(rows * math.log1p(-1 / shards)) if shards > 1 else min(1.0, rows)


def ingest(config: Config, sizes: Sizes) -> list[Step]:
    """Return the work of ingest: one process reads everything."""
    whole = sizes.text_bytes + sizes.queries * sizes.query_bytes
    files = shards(sizes.documents, config.shard_rows) + shards(sizes.queries, config.shard_rows)
    seconds = whole * INGEST_SECONDS_A_BYTE + sizes.queries * INGEST_SECONDS_A_QUERY
    written = whole * (STORED_TEXT + STORED_WORDS + STORED_REST)
    return [
        Step("ingest", "digest of the input", 1, single=whole * DIGEST_SECONDS_A_BYTE, read=whole),
        Step("ingest", "read and write", 1, single=seconds, read=whole, written=written, files=files),
    ]


def embed(config: Config, sizes: Sizes) -> list[Step]:
    """Return the work of embed, one step a teacher; ready vectors are copied to a file in every process."""
    found = []
    for table, teacher in config.teachers.items():
        documents = sizes.documents if table != "embed" else round(stored_vectors(config, sizes) / _row(config, sizes))
        tasks, corpus_shards = shards(documents, config.shard_rows), shards(sizes.documents, config.shard_rows)
        vectors = stored_vectors(config, sizes, table) + sizes.queries * 4.0 * sizes.dims[table]
        common = {"written": vectors, "files": tasks, "once_files": corpus_shards}
        if teacher.model == "precomputed":
            raw = held_vectors(config, sizes, table)
            # read from the user's files, written as they are, read again to be checked; then shard by shard
            once = {"once_read": 2 * raw, "once_written": raw, "once_seconds": KEYS_SECONDS_A_DOCUMENT * documents}
            found.append(Step("embed", f"ready vectors ({table})", tasks, read=raw, **common, **once))
        else:
            read = STORED_TEXT * sizes.text_bytes * documents / sizes.documents
            passages = documents + sizes.queries * sizes.query_bytes / sizes.document_bytes
            found.append(Step("embed", f"vectors ({table})", tasks, passages=passages, read=read, **common))
    return found


def _row(config: Config, sizes: Sizes) -> float:
    return (2 if config.embed.dtype == "float16" else 4) * sizes.dim + 8


def index(config: Config, sizes: Sizes, kind: str) -> list[Step]:
    """Return the work of index: none for exact search, else one thread of one process.

    Args:
        config: the whole config.
        sizes: of the collection.
        kind: flat, hnsw or ivf.
    """
    if kind == "flat":
        return []
    vectors, links = stored_vectors(config, sizes), 8.0 * config.index.hnsw_links * sizes.documents
    growth = max(1.0, math.log(sizes.documents) / math.log(1e5))
    if kind == "hnsw":
        seconds = HNSW_SECONDS_A_DOCUMENT * sizes.documents * growth * sizes.dim / 384
        return [Step("index", "HNSW, one thread", 1, single=seconds, read=vectors, written=vectors + links)]
    lists = config.index.ivf_lists or default_list_count(sizes.documents)
    made = (sizes.documents + ROUNDS * min(sizes.documents, POINTS * lists)) * lists / MAKING
    flops = 2.0 * (made + sizes.documents * config.index.recall_sample) * sizes.dim
    return [Step("index", "lists, their recall", 1, flops=flops, read=3 * vectors, written=vectors)]


def retrieve(config: Config, sizes: Sizes, kind: str, splits: int = 1) -> list[Step]:
    """Return the work of retrieve: every block of queries goes through all vectors, `PASSES` times.

    What the vectors take beyond `memory` is read again each time. With `splits` parts of the corpus the product and its
    exact scores are those of a task for each part and shard of queries, and a task more for each shard puts the
    parts' hits together; what is left goes through the whole corpus all the same.

    Args:
        config: the whole config.
        sizes: of the collection.
        kind: flat, hnsw or ivf; every process loads a whole graph, and leaves out the pass of the product.
        splits: parts that the corpus is searched in.
    """
    tasks = shards(sizes.queries, config.shard_rows)
    blocks = tasks * -(-min(sizes.queries, config.shard_rows) // QUERY_BLOCK)
    found = sizes.queries * (config.retrieve.max_candidates + sizes.positives)
    candidate = SECONDS_A_CANDIDATE + SECONDS_A_CANDIDATE_AND_NUMBER * sizes.dim
    flops = sum(2.0 * sizes.queries * sizes.documents * sizes.dims[table] * _SHARES[kind] for table in config.teachers)
    corpus_files, before = 2.0 * shards(sizes.documents, config.shard_rows), list[Step]()
    if splits > 1:
        searched = dict.fromkeys(config.teachers, IN_PARTS)
        once, read, _ = _passes(config, sizes, blocks * splits, searched, splits)
        hits = 8.0 * found * splits
        before = [
            Step("retrieve", "parts", tasks * splits, flops=flops, read=read, written=hits, once_read=once,
                 once_files=corpus_files),
            Step("retrieve", "merge", tasks, single=1e-7 * found * splits, read=hits, written=hits),
        ]  # fmt: skip
    passes = {table: PASSES if table == "embed" else PASSES_A_TEACHER for table in config.teachers}
    left = {table: count - (IN_PARTS if splits > 1 else kind == "hnsw") for table, count in passes.items()}
    once, read, cache = _passes(config, sizes, blocks, left)
    terms, stored_words = held_terms(sizes), STORED_WORDS * sizes.text_bytes
    kept = min(terms, max(0.0, cache))
    read += blocks * stored_words * (1 - kept / terms)
    files = blocks * shards(sizes.documents, config.shard_rows) * (read > 0) * PASSES
    once += stored_words * kept / terms + (stored_vectors(config, sizes) if kind == "hnsw" else 0)
    search = Step(
        "retrieve", f"search ({kind})", tasks, threaded=found * candidate, flops=flops * (splits == 1), read=read,
        written=stored_candidates(config, sizes), files=files + tasks, once_read=once, once_files=corpus_files,
    )  # fmt: skip
    return [*before, search]


def _passes(
    config: Config, sizes: Sizes, blocks: float, passes: dict[TeacherTable, int], splits: int = 1
) -> tuple[float, float, float]:
    """Return what of the vectors is read once a process and over and over, in bytes, and what they leave of the cache.

    Args:
        config: the whole config.
        sizes: of the collection.
        blocks: of queries that go through the vectors, each through one part of them.
        passes: how often each does, for every teacher.
        splits: parts that the vectors are cut into.
    """
    cache, once, read = float(cache_bytes(config)), 0.0, 0.0
    for table, count in passes.items():
        held, stored = held_vectors(config, sizes, table) / splits, stored_vectors(config, sizes, table) / splits
        kept = min(held, cache)
        cache -= kept
        read += blocks * count * stored * (1 - kept / held)
        once += stored * kept / held
    return once, read, cache


def judging(config: Config, sizes: Sizes) -> list[Step]:
    """Return the work of filter: in every process the text keys of all documents, then shard by shard."""
    tasks, files = shards(sizes.queries, config.shard_rows), shards(sizes.documents, config.shard_rows)
    once = {
        "once_seconds": KEYS_SECONDS_A_DOCUMENT * sizes.documents,
        "once_read": 8.0 * sizes.documents,
        "once_files": 2.0 * files,
    }
    read = stored_candidates(config, sizes)
    seconds = FILTER_SECONDS * sizes.queries * config.retrieve.max_candidates * sizes.positives / 2.5
    judge = Step("filter", "judge", tasks, single=seconds, read=read, written=stored_verdicts(config, sizes), **once)
    if not config.filter.gives_probabilities:
        return [judge]
    return [Step("filter", "fit of the calibrated rule", 1, single=FIT_SECONDS, read=read, files=tasks, **once), judge]


def emit(config: Config, sizes: Sizes) -> list[Step]:
    """Return the work of emit: one process chooses; then each shard looks its texts up, in nearly all of the corpus."""
    tasks, corpus = shards(sizes.queries, config.shard_rows), shards(sizes.documents, config.shard_rows)
    candidates, made = sizes.queries * config.retrieve.max_candidates, negatives(config, sizes)
    text = (STORED_TEXT + STORED_REST / 2) * sizes.text_bytes
    opened = touched(corpus, made / tasks) + touched(corpus, sizes.queries * sizes.positives / tasks)
    kept = min(1.0, kept_texts(config) / max(1.0, sizes.text_bytes))
    again = tasks * (1 - kept) * opened
    verdicts = stored_verdicts(config, sizes)
    written = (made + 2 * sizes.queries * sizes.positives) * sizes.document_bytes * STORED_TEXT
    return [
        Step(
            "emit", "choose", 1, single=CHOOSE_SECONDS * candidates, read=verdicts / 2, written=made * 12, files=tasks,
        ),
        Step(
            "emit", "write", tasks, single=WRITE_SECONDS * candidates, written=written,
            read=verdicts / 2 + again * text / corpus, files=again, once_read=kept * text, once_files=2.0 * corpus,
        ),
    ]  # fmt: skip


def report(config: Config, sizes: Sizes) -> list[Step]:
    """Return the work of report: shard by shard the vectors of the chosen, then one process puts it together."""
    tasks, corpus = shards(sizes.queries, config.shard_rows), shards(sizes.documents, config.shard_rows)
    candidates, verdicts = sizes.queries * config.retrieve.max_candidates, stored_verdicts(config, sizes)
    passes = math.ceil(negatives(config, sizes) / tasks / (BLOCK_ROWS // 2))
    held, stored = held_vectors(config, sizes), stored_vectors(config, sizes)
    kept = min(held, cache_bytes(config)) / held
    again = tasks * passes * (1 - kept)
    return [
        Step(
            "report", "measure", tasks, single=MEASURE_SECONDS * candidates, read=verdicts + again * stored,
            files=again * corpus, once_read=kept * stored, once_files=2.0 * corpus,
        ),
        Step(
            "report", "put together", 1,
            single=FIT_SECONDS + REPORT_SECONDS * candidates + KEYS_SECONDS_A_DOCUMENT * sizes.documents,
            read=3 * verdicts + STORED_TEXT * sizes.text_bytes, files=3 * tasks + 4.0 * corpus,
        ),
    ]  # fmt: skip
