"""Candidates without some queries' labels: what near queries tell of them is that of a double loop over the others."""

import numpy as np
import pyarrow as pa
import pytest

from hnmine.arrays.ragged import Ragged
from hnmine.commands.tune.near_labels import HiddenLabels
from hnmine.storage.schemas.retrieve import CANDIDATES


def ragged(lists, kind=np.int64):
    return Ragged.from_lengths(
        np.array([x for row in lists for x in row], dtype=kind), np.array([len(row) for row in lists])
    )


@pytest.mark.parametrize("seed", range(5))
def test_hidden_queries_tell_nothing(seed):
    generator = np.random.default_rng(seed)
    queries, documents = 8, 12
    labels = [sorted(generator.choice(documents, 3, replace=False).tolist()) for _ in range(queries)]
    hidden = np.sort(generator.choice(queries, 3, replace=False))
    candidates = [generator.permutation(documents)[:6].tolist() for _ in range(4)]
    near = [[q for q in generator.permutation(queries)[:5].tolist() if q != own] for own in range(4)]
    nearness = [np.sort(generator.normal(2, 1, len(own)))[::-1].astype(np.float32).tolist() for own in near]
    values = {field.name: pa.nulls(4, field.type) for field in CANDIDATES}
    values["query_row"] = pa.array(range(4), pa.int64())
    for name, lists, kind in (
        ("doc_rows", candidates, pa.int64()), ("near_queries", near, pa.int64()), ("nearness", nearness, pa.float32()),
    ):  # fmt: skip
        values[name] = ragged(lists, kind.to_pandas_dtype()).to_arrow(kind)
    found = HiddenLabels(ragged(labels), hidden).apply(pa.table(values))
    for row in range(4):
        shown = [(q, z) for q, z in zip(near[row], nearness[row], strict=True) if q not in hidden]
        assert found.column("near_queries")[row].as_py() == [q for q, _ in shown]
        total = sum(np.exp(z) for _, z in shown)
        for place, document in enumerate(candidates[row]):
            has = [z for q, z in shown if document in labels[q]]
            share = sum(np.exp(z) for z in has) / total if has else 0.0
            assert found.column("near_labels")[row][place].as_py() == pytest.approx(max(has, default=0.0))
            assert found.column("near_label_shares")[row][place].as_py() == pytest.approx(share, rel=1e-5)


def test_with_nothing_hidden_the_candidates_stay_as_they_are():
    table = pa.table({"query_row": pa.array([1])})
    assert HiddenLabels(ragged([[0]]), np.zeros(0, dtype=np.int64)).apply(table) is table
