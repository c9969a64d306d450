"""Shards of retrieve: one with many positives is cut into several files."""

import numpy as np
import pyarrow as pa

from hnmine.pipeline.run import run
from hnmine.stages.retrieve import step
from hnmine.storage.schemas.retrieve import CANDIDATES
from hnmine.storage.store import Shards
from tests.support import config_for, write_collection

DOCS, QUERIES = 60, 300


def test_queries_with_many_positives_are_retrieved_in_several_files_with_the_same_rows(tmp_path, monkeypatch):
    corpus = {f"d{d}": f"text {d} about word{d % 7}" for d in range(DOCS)}
    queries = {f"q{q}": f"query {q} about word{q % 7}" for q in range(QUERIES)}
    labels = np.random.default_rng(0).integers(1, 5, QUERIES)
    qrels = [(f"q{q}", f"d{(q + 7 * i) % DOCS}", 1) for q in range(QUERIES) for i in range(labels[q])]
    write_collection(tmp_path, corpus, queries, qrels)

    def retrieved(out, **tables):
        config = config_for(tmp_path, out, shard_rows=256, retrieve={"top_k": 10}, **tables)
        run(config, ("ingest", "embed", "index", "retrieve"))
        return Shards(config.out_folder / "retrieve", CANDIDATES)

    whole = retrieved("whole")
    monkeypatch.setattr(step, "PAIRS", 10 * 13 * 3)
    monkeypatch.setattr(step, "FEWEST_QUERIES", 50)
    for out, tables in (("cut", {}), ("parts", {"index": {"splits": 3}})):
        cut = retrieved(out, **tables)
        assert np.diff(cut.offsets).tolist() == [50, 50, 50, 50, 50, 6, 44]
        assert pa.concat_tables(cut).equals(pa.concat_tables(whole))
