import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from hnmine import row_batches, run
from hnmine.arrays.groups import rank_in_group
from hnmine.config import EmitConfig
from hnmine.science.batch_packing import conflicts, first_fit, nearest_neighbour_tour, off_diagonal_mean
from hnmine.stages.emit.batches.packing import pack
from tests.pipeline.helpers import emitted, table
from tests.strategies import quick
from tests.support import config_for, make_collection, tree


@st.composite
def graphs(draw):
    n = draw(st.integers(0, 14))
    bits = np.array(draw(st.lists(st.integers(0, 3), min_size=n * n, max_size=n * n))).reshape(n, n) == 0
    upper = np.triu(bits, 1)
    return upper | upper.T


named = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=20)


@quick
@given(named, named)
def test_conflicts_are_those_of_a_double_loop(barred, offered):
    def arrays(pairs):
        return tuple(np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))

    found = conflicts(arrays(barred), arrays(offered), 6)
    for i in range(6):
        for j in range(6):
            one = any((i, name) in barred and (j, name) in offered for name in range(7))
            other = any((j, name) in barred and (i, name) in offered for name in range(7))
            assert found[i, j] == (i != j and (one or other))


@quick
@given(graphs(), st.integers(1, 5))
def test_first_fit_is_that_of_a_plain_loop(conflict, size):
    batches = []
    for i in range(len(conflict)):
        fits = (b for b in batches if len(b) < size and not any(conflict[i, j] for j in b))
        batch = next(fits, None)
        if batch is None:
            batches.append([i])
        else:
            batch.append(i)
    found = first_fit(conflict, size)
    assert [np.flatnonzero(found == number).tolist() for number in range(len(batches))] == batches


@quick
@given(graphs(), st.integers(1, 4), st.data())
def test_packing_places_every_example_once_and_no_conflict_together(conflict, size, data):
    n = len(conflict)
    cluster = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=np.int64)
    found = pack(cluster, size, 2 * size + 1, lambda m: conflict[np.ix_(m, m)])
    assert len(found.batch) == n
    sizes = np.bincount(found.batch) if n else np.zeros(0)
    assert ((sizes > 0) & (sizes <= size)).all()
    assert not (conflict & (found.batch[:, None] == found.batch)).any()
    assert (found.conflicts <= conflict.sum(axis=1)).all()


def test_small_functions():
    assert nearest_neighbour_tour(np.array([[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]])).tolist() == [0, 2, 1]
    assert rank_in_group(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]
    assert off_diagonal_mean(np.array([[9.0, 1, 2], [3, 9, 5], [1, 1, 9]])).tolist() == [1.5, 4, 1]
    assert np.isnan(off_diagonal_mean(np.ones((1, 1)))).all()


def test_rows_of_batches():
    assert row_batches([1, 0, 1, 0]) == [[1, 3], [0, 2]]
    assert row_batches([0, 0, 0, 1], ["a", "a", "b", "c"]) == [[0, 2], [1], [3]]


def test_settings_of_batches_are_in_no_key_without_batches():
    assert not {"batch_size", "batch_by"} & set(EmitConfig().semantic())
    assert EmitConfig(batch_size=8).semantic()["batch_by"] == "clusters"


EXTRA = ["query_id", "positive_id"]


def mine(base, out, **emit):
    tables = {"emit": {"batch_size": 8, "extra_columns": EXTRA, **emit}, "filter": {"max_positive_similarity": None}}
    run(config_for(base, out, **tables, shard_rows=256))
    return base / out


def test_a_run_has_batches_without_the_positives_of_one_another(tmp_path):
    make_collection(tmp_path, 400, 300)
    out = mine(tmp_path, "out")
    rows = emitted(out)
    positives = {}
    for i in range(300):
        positives[f"q{i}"] = {f"d{(i + j) % 400}" for j in range(1 + i % 2)}
    batches = {}
    for row in rows:
        batches.setdefault(row["batch_id"], set()).add((row["query_id"], row["positive_id"]))
    examples = [example for batch in batches.values() for example in batch]
    assert len(examples) == len(set(examples)) > 200
    for batch in batches.values():
        assert len(batch) <= 8
        for query, own in batch:
            assert not any(other in positives[query] for _, other in batch - {(query, own)})
    assert tree(mine(tmp_path, "again")) == tree(out)
    run(config_for(tmp_path, "wide", emit={"batch_size": 8, "extra_columns": EXTRA},
                   filter={"max_positive_similarity": None}, shard_rows=512))  # fmt: skip
    assert table(tmp_path / "wide/emit").equals(table(out / "emit"))
    assert not list((out / "emit/batches").glob(".tmp*"))


def test_the_order_of_queries_changes_no_batch(tmp_path):
    make_collection(tmp_path, 200, 120)
    before = mine(tmp_path, "out")
    file = tmp_path / "queries.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    after = mine(tmp_path, "turned")
    ids = [{(r["query_id"], r["positive_id"]): r["batch_id"] for r in emitted(out)} for out in (before, after)]
    assert ids[0] == ids[1]


def test_every_shape_has_the_column(tmp_path):
    make_collection(tmp_path)
    for name in ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list"):
        out = mine(tmp_path, name, format=name)
        assert all(row["batch_id"] is not None for row in emitted(out))
    lines = (mine(tmp_path, "bge", format="bge") / "emit/part-00000.jsonl").read_text()
    assert '"batch_id"' in lines
    assert pq.read_table(tmp_path / "triplet/emit/batches/batches.parquet").num_rows > 0
