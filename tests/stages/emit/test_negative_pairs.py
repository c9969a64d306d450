"""The distinct pairs of a set's negatives, and the name of the set."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hnmine.pipeline.run import run
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.negative_pairs import negative_pairs, set_name
from hnmine.storage.schemas.emit import CHOSEN
from tests.support import config_for, make_collection

rows = st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 6), max_size=4)), max_size=8)


@given(rows)
def test_pairs_are_distinct_and_ascending(given_rows):
    ordered = sorted(given_rows, key=lambda row: row[0])
    table = pa.Table.from_pylist(
        [
            {
                "query_row": query,
                "anchor": 0,
                "wanted": 4,
                "positions": own,
                "doc_rows": own,
                "scores": [0.0] * len(own),
            }
            for query, own in ordered
        ],
        schema=CHOSEN,
    )
    query, document = negative_pairs(table)
    assert list(zip(query.tolist(), document.tolist(), strict=True)) == sorted(
        {(query, one) for query, own in ordered for one in own}
    )


def test_a_set_has_the_same_name_whatever_led_to_it_and_another_set_another(tmp_path):
    make_collection(tmp_path)
    names = []
    for out, tables in {
        "one": {},
        "shards": {"shard_rows": 256, "emit": {"format": "n-tuple"}},
        "other": {"filter": {"rule": "percent", "percent": 0.7}},
    }.items():
        config = config_for(tmp_path, out, **tables)
        run(config)
        context = RunContext(config, config.out_folder)
        query, document = negative_pairs(read_chosen(context.reading("emit")))
        assert len(np.unique(np.stack([query, document]), axis=1).T) == len(query) > 0
        names.append(set_name(context, query, document))
    assert names[0] == names[1] != names[2]
    assert all(len(name) == 16 for name in names)
