"""Texts that share a prefix: any two of one topic have a cosine near .8, relevant to one another or not."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.pipeline.run import RunOptions, run
from tests.support import config_for, write_collection

TOPICS, QUESTIONS, RELEVANT, D = 10, 12, 6, 48
SHARED = 2.0
"""Length of the topic's part of a vector; that of the question's is 1, that of the text's own .7."""


@pytest.fixture(scope="module", params=["one label", "several labels"])
def prefixed(request, tmp_path_factory):
    """A run as far as retrieve: each query has RELEVANT relevant documents, of which one or four are labelled."""
    folder = tmp_path_factory.mktemp("prefixed")
    generator = np.random.default_rng(3)
    pairs = [(t, q) for t in range(TOPICS) for q in range(QUESTIONS)]
    corpus = {f"t{t}q{q}d{d}": f"topic{t}: answer {q} of kind {d}" for t, q in pairs for d in range(RELEVANT)}
    queries = {f"t{t}q{q}": f"topic{t}: question {q}" for t, q in pairs}
    labelled = 1 if request.param == "one label" else 4
    write_collection(folder, corpus, queries, [(name, f"{name}d{d}", 1) for name in queries for d in range(labelled)])

    def unit(shape):
        drawn = generator.normal(size=shape)
        return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)

    topics, questions = unit((TOPICS, D)), unit((TOPICS, QUESTIONS, D))
    base = {f"t{t}q{q}": SHARED * topics[t] + questions[t, q] for t, q in pairs}
    for side, key, names in (("c", "doc_id", list(corpus)), ("q", "query_id", list(queries))):
        rows = np.array([base[name.split("d")[0]] for name in names]) + 0.7 * unit((len(names), D))
        flat = pa.array((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32).ravel())
        table = pa.table({key: names, "vector": pa.FixedSizeListArray.from_arrays(flat, D)})
        pq.write_table(table, folder / f"v{side}.parquet")
    made = config(folder, "base", "percent")
    run(made, ("ingest", "embed", "index", "retrieve"))
    return folder, made.out_folder


def config(folder, out, rule):
    embed = {"model": "precomputed", "corpus_vectors": "vc.parquet", "query_vectors": "vq.parquet"}
    tables = {"filter": {"rule": rule}, "emit": {"choose": "top", "extra_columns": ["query_id", "negative_id"]}}
    return config_for(folder, out, embed=embed, retrieve={"top_k": 40}, report={"html": False}, **tables)


def mined(prefixed, rule):
    """Return the fill of a rule's set, and the share of its negatives that are relevant, labelled or not."""
    folder, source = prefixed
    made = config(folder, rule, rule)
    run(made, options=RunOptions(source=source))
    rows = pq.read_table(sorted((made.out_folder / "emit").glob("part-*.parquet"))).to_pylist()
    false = [row["negative_id"].split("d")[0] == row["query_id"] for row in rows]
    return json.loads((made.out_folder / "report" / "report.json").read_text())["fill"], np.mean(false)


def test_auto_and_calibrated_fill_what_a_margin_fills(prefixed):
    fill, false = mined(prefixed, "percent")
    assert mined(prefixed, "calibrated")[0] >= fill
    own_fill, own_false = mined(prefixed, "auto")
    assert own_fill >= fill
    assert own_false <= false
