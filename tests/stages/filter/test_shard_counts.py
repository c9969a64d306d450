"""The counts in the footers of the filter's shards are those of the verdicts in the shards."""

from collections import Counter

import pytest

from hnmine.pipeline.run import run
from hnmine.stages.filter.shard_counts import shard_counts
from hnmine.stages.filter.verdicts import countable_verdicts
from hnmine.storage.schemas.filter import JUDGED
from hnmine.storage.store import Shards, read_key
from tests.stages.filter.test_deeper_search import config, crowded

__all__ = ["crowded"]
WANTED = 3


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"filter": {"rule": "percent", "anchor": "min"}},
        {"filter": {"rule": ["percent", "two_sided"]}},
        {"filter": {"rule": ["percent", "multi_similarity"], "multi_similarity": 0.3}},
    ],
    ids=["each", "min", "two_rules", "multi_similarity"],
)
def test_the_counts_of_a_shard_are_those_of_a_loop_over_its_rows(crowded, tmp_path, tables):
    made = config(crowded, tmp_path / "out", max_top_k=40, emit={"num_negatives": WANTED}, shard_rows=256, **tables)
    run(made, ("ingest", "embed", "index", "retrieve", "filter"))
    folder = made.out_folder / "filter"
    shards = Shards(folder, JUDGED)
    found = shard_counts(folder)
    assert len(found) == len(shards) > 1
    for counts, table in zip(found, shards, strict=True):
        expected = Counter()
        deepest = 0
        for row in table.to_pylist():
            kept = [verdicts.count("keep") for verdicts in row["verdicts"]]
            likely = [any(v in ("percent", "two_sided", "copy_of_positive") for v in vs) for vs in row["verdicts"]]
            others = len(row["doc_rows"]) - row["verdicts"][0].count("positive")
            expected.update(verdict for verdicts in row["verdicts"] for verdict in verdicts)
            expected["anchors"] += len(kept)
            expected["empty"] += kept.count(0)
            expected["deeper"] += others > made.retrieve.top_k
            expected["short"] += others >= 40 and any(
                k < made.emit.retrieved_negatives and hit for k, hit in zip(kept, likely, strict=True)
            )
            deepest = max(deepest, others)
        names = [*countable_verdicts(made.filter), "anchors", "empty", "deeper", "short"]
        assert {name: counts[name] for name in names} == {name: expected[name] for name in names}
        assert counts["deepest"] == deepest
        assert counts["queries"] == table.num_rows
    assert sum(one["deeper"] for one in found)
    assert all(read_key(path) for path in shards.paths)
