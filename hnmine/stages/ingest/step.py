"""The stage ingest: turns the user's files into a canonical corpus and queries with their judgements.

Documents with the same text become one row; their other ids are kept as aliases. Empty texts, queries without a
positive and unknown ids are listed in `left_out` with the reason.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.config.tables import Config
from hnmine.errors import HnmineError, Problems
from hnmine.readers.collection import input_sources, split_warning
from hnmine.runtime.stage import Item, RunContext, Stage, Step, Tick, no_setup
from hnmine.runtime.threads import BackgroundWriter
from hnmine.stages.ingest.canonical import CanonicalInput
from hnmine.stages.ingest.evaluation import EVALUATION_FILE
from hnmine.stages.ingest.shard_writer import ShardWriter
from hnmine.storage.paths import remove_tree
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, EVALUATION, IMAGES, LEFT_OUT, QUERIES, TERMS
from hnmine.storage.store import STARTED, item_key, read_json, write_json, write_table

IMAGE_ROWS = 256
"""Images of a shard: each may take megabytes."""
COUNTS, TERMS_FILE = "counts.json", "terms.parquet"


def _parts(context: RunContext) -> dict[str, Any]:
    sources = input_sources(context.config)
    digests = {role: [context.digests.of(file) for file in files] for role, files in sources.items()}
    return {"input": context.config.input.semantic(), "files": digests}


def _outputs(context: RunContext, parts: dict[str, Any]) -> dict[str, Any]:
    """Return what determines the documents, and what determines the queries with their positives.

    Judgements beside the qrels decide neither, unless they add positives; nor does what becomes of unknown ids.
    """
    given, files = parts["input"], parts["files"]
    adds_positives = given["judged_positives"] and "judgements" in files
    columns = {name: given["columns"][name] for name in ("doc_id", "text", "title", "anchor", "positive")}
    documents = {
        "files": {role: files[role] for role in ("corpus", "pairs") if role in files},
        "columns": columns | ({"image": given["columns"]["image"]} if context.config.input.has_images else {}),
        "quoting": given["quoting"],
    }
    queries = {
        "files": {role: own for role, own in files.items() if role != "judgements" or adds_positives},
        "input": {name: value for name, value in given.items() if name not in ("unknown_ids", "judged_positives")},
        "adds_positives": adds_positives,
    }
    return {"corpus": documents, "queries": queries}


def _plan(context: RunContext, key: str) -> list[Item]:
    return [Item(context.folder("ingest") / "left_out.parquet", key=item_key(key, "left_out", 0, 0))]


def _process(context: RunContext, item: Item, tick: Tick) -> pa.Table:
    folder = item.output.parent
    try:
        return _ingest(context.config, folder, item.key, tick)
    except HnmineError:
        # nothing of a refused input is kept, so that a corrected one starts anew
        remove_tree(folder, last=STARTED)
        raise


def _ingest(config: Config, folder: Path, key: str, tick: Tick) -> pa.Table:
    """Write all tables but `left_out`, which is returned."""
    canonical = CanonicalInput(config, Problems(), tick)
    with BackgroundWriter() as background:

        def writer(name: str, schema: pa.Schema, **derived: Any) -> ShardWriter:
            remove_tree(folder / name)
            return ShardWriter(folder / name, schema, config.shard_rows, key, background, **derived)

        corpus = writer("corpus", CORPUS, derived=("text_key", "terms"), derive=canonical.keys_and_terms)
        aliases, queries = writer("aliases", ALIASES), writer("queries", QUERIES)
        given = {"images": config.input.has_images, "query-images": config.input.has_query_images}
        images = {
            name: replace(writer(name, IMAGES), shard_rows=IMAGE_ROWS) if is_given else None
            for name, is_given in given.items()
        }
        canonical.write(corpus, aliases, queries, *images.values())
        corpus.close()
        for one in images.values():
            if one is not None:
                one.close()
        aliases.close()
    used = np.flatnonzero(canonical.documents_with)
    terms = pa.Table.from_arrays([pa.array(used, pa.int32()), canonical.documents_with[used]], schema=TERMS)
    write_table(terms, folder / TERMS_FILE, item_key(key, "terms", 0, len(used)))
    if config.input.has_evaluation:
        rows = canonical.evaluation.documents
        evaluation = pa.Table.from_arrays([pa.array(rows, pa.int64())], schema=EVALUATION)
        write_table(evaluation, folder / EVALUATION_FILE, item_key(key, "evaluation", 0, len(rows)))
    write_json(canonical.counts, folder / COUNTS)
    left_out = list(zip(*canonical.left_out, strict=True)) or [(), (), ()]
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in left_out], schema=LEFT_OUT)


def _finish(context: RunContext, key: str) -> dict[str, Any]:
    counts = dict(read_json(context.folder("ingest") / COUNTS))
    warnings = [warning for warning in (split_warning(context.config), _unknown_queries(counts)) if warning]
    return counts | ({"warning": "; ".join(warnings)} if warnings else {})


def _unknown_queries(counts: dict[str, Any]) -> str | None:
    """Return a warning if the input has none of the evaluation set's queries, so that only documents are known."""
    if counts.get("eval_queries") == 0 and counts["eval_queries_unknown"]:
        return (
            f"input.eval_qrels: none of the {counts['eval_queries_unknown']:,} queries of the evaluation set is in the "
            "input, so training queries with the text of one cannot be found; add them to the queries if they should be"
        )
    return None


STAGE = Stage(
    name="ingest",
    version=4,
    reads=(),
    parts=_parts,
    steps=(Step("read", "documents", _plan, no_setup, _process),),
    finish=_finish,
    outputs=_outputs,
)
