"""Deeper search: queries whose candidates are all likely positives get more candidates, and only those."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.cli.run_stages import _result
from hnmine.commands.explain import explain_query
from hnmine.pipeline.run import RunOptions, run
from hnmine.stages.filter import step
from hnmine.stages.filter.deeper_search import short_anchors
from hnmine.stages.filter.shard_counts import verdict_counts
from hnmine.stages.filter.verdicts import CODES
from hnmine.storage.schemas.filter import JUDGED, JUDGED_CODED
from hnmine.storage.store import Shards
from tests.support import config_for, tree, write_collection

DOCS, QUERIES, TOP = 300, 560, 10
SCORES = np.array([0.99, *np.linspace(0.9, 0.05, DOCS - 1)])
"""Score of each document to every query. A 95% margin below .5 keeps those from about the 150th on."""
CROWDED, LAST = 140, DOCS - 1
EVERY, HOPELESS = 7, 3
"""Every 7th query has its positive at about .5, query 3 the document with the lowest score, the others the best one."""


def positive_of(query):
    return LAST if query == HOPELESS else CROWDED + query % 5 if query % EVERY == 0 else 0


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crowded")
    generator = np.random.default_rng(1)
    corpus = {f"d{d}": f"document {d} of word{d}" for d in range(DOCS)}
    queries = {f"q{q}": f"query {q}" for q in range(QUERIES)}
    write_collection(folder, corpus, queries, [(f"q{q}", f"d{positive_of(q)}", 1) for q in range(QUERIES)])
    around = generator.normal(size=(DOCS, 32))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    documents = np.concatenate([SCORES[:, None], np.sqrt(1 - SCORES[:, None] ** 2) * around], axis=1)
    asked = np.zeros((QUERIES, 33))
    asked[:, 0] = 1
    for name, ids, side, vectors in (("vc", corpus, "doc_id", documents), ("vq", queries, "query_id", asked)):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), 33)
        pq.write_table(pa.table({side: list(ids), "vector": flat}), folder / f"{name}.parquet")
    return folder


def config(folder, out, top_k=TOP, max_top_k=1000, **tables):
    embed = {"model": "precomputed", "corpus_vectors": "vc.parquet", "query_vectors": "vq.parquet"}
    given = {"filter": {"rule": "percent"}, "report": {"html": False}} | tables
    retrieve = {"top_k": top_k, "max_top_k": max_top_k} | given.pop("retrieve", {})
    return config_for(folder, out, embed=embed, retrieve=retrieve, **given)


def judged(folder, out, stages=("ingest", "embed", "index", "retrieve", "filter"), **settings):
    """Return (the filter's rows, its counts) of a run."""
    made = config(folder, out, **settings)
    results = run(made, stages)
    return pa.concat_tables(Shards(made.out_folder / "filter", JUDGED)), results[-1].counts


def lengths_of(table):
    """Number of candidates of each query that are no positives."""
    rows, positives = (table.column(name).to_pylist() for name in ("doc_rows", "positive_rows"))
    return np.array([len(set(own) - set(mine)) for own, mine in zip(rows, positives, strict=True)])


def test_only_short_queries_are_searched_deeper_and_no_deeper_than_they_need(crowded):
    table, counts = judged(crowded, "deep")
    lengths = lengths_of(table)
    is_crowded = np.array([positive_of(q) >= CROWDED for q in range(QUERIES)])
    assert (lengths[~is_crowded] == TOP).all()
    assert set(lengths[is_crowded].tolist()) == {160, DOCS - 1}  # 10, 20, 40 and 80 are all above the margin
    assert lengths[HOPELESS] == DOCS - 1  # the corpus ends there
    kept = np.array([verdicts[0].count("keep") for verdicts in table.column("verdicts").to_pylist()])
    assert (kept[is_crowded & (np.arange(QUERIES) != HOPELESS)] >= 5).all()
    assert kept[HOPELESS] == 0
    assert counts["queries_searched_deeper"] == is_crowded.sum()
    assert counts["deepest_list"] == DOCS - 1
    assert counts["queries_short_at_max_top_k"] == 0
    assert counts["anchors_without_candidates"] == 1
    assert (table.column("query_row").to_numpy() == np.arange(QUERIES)).all()


def test_a_deeper_list_is_what_a_larger_top_k_finds(crowded):
    table, _ = judged(crowded, "deep")
    other, _ = judged(crowded, "wide", top_k=160, max_top_k=160)
    deeper = np.flatnonzero(lengths_of(table) == 160)
    assert len(deeper) > 50
    assert table.take(deeper).equals(other.take(deeper))


def test_the_bound_is_kept_and_queries_still_short_are_counted(crowded):
    table, counts = judged(crowded, "bounded", max_top_k=50)
    lengths = lengths_of(table)
    assert lengths.max() == 50  # 10, 20, 40, then the bound
    crowded_queries = sum(positive_of(q) >= CROWDED for q in range(QUERIES))
    assert counts["queries_searched_deeper"] == counts["queries_short_at_max_top_k"] == crowded_queries
    for top in (TOP, TOP - 5):
        table, counts = judged(crowded, f"never-{top}", max_top_k=top)
        assert (lengths_of(table) == TOP).all()
        assert "queries_searched_deeper" not in counts


def test_the_result_does_not_depend_on_shards_workers_or_parts(crowded):
    table, _ = judged(crowded, "deep")
    for out, tables in (
        ("small", {"shard_rows": 256}),
        ("workers", {"shard_rows": 256, "workers": 2}),
        ("parts", {"index": {"splits": 3}}),
    ):
        assert judged(crowded, out, **tables)[0].equals(table), out
    assert tree(crowded / "small" / "filter") == tree(crowded / "workers" / "filter")


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_finds_the_same_deeper_lists_whatever_the_shards(crowded, kind):
    table, counts = judged(crowded, kind, index={"kind": kind})
    assert counts["queries_searched_deeper"] > 50
    other, _ = judged(crowded, f"{kind}-shards", index={"kind": kind}, shard_rows=256)
    assert other.equals(table)
    wide, _ = judged(crowded, f"{kind}-wide", top_k=160, max_top_k=160, index={"kind": kind})
    deeper = np.flatnonzero(lengths_of(table) == 160)
    assert len(deeper) > 50
    assert table.take(deeper).equals(wide.take(deeper))


def test_a_stopped_filter_continues_with_the_same_bytes(crowded):
    judged(crowded, "again", shard_rows=256)
    folder = crowded / "again" / "filter"
    before = tree(folder)
    for name in ("part-00001.parquet", "_manifest.json"):
        (folder / name).unlink()
    judged(crowded, "again", shard_rows=256)
    assert tree(folder) == before


def test_a_larger_bound_makes_only_the_filter_stale_and_more_negatives_make_lists_deeper(crowded):
    judged(crowded, "bounds", max_top_k=20)
    made = config(crowded, "bounds", max_top_k=1000, emit={"num_negatives": 10})
    ran = {one.stage: one.ran for one in run(made, options=RunOptions(overwrite=True))}
    assert not ran["retrieve"]
    assert ran["filter"]
    lengths = lengths_of(pa.concat_tables(Shards(made.out_folder / "filter", JUDGED)))
    assert 299 in lengths  # some keep fewer than ten of 160


def test_the_rank_window_ends_the_search_and_a_rule_that_marks_no_positive_starts_none(crowded):
    table, _ = judged(crowded, "window", filter={"rule": "percent", "ranks": [1, 30]})
    assert lengths_of(table).max() == 30
    for number, filter_table in enumerate(({"rule": "none"}, {"rule": "absolute", "max_score": 0.3})):
        table, counts = judged(crowded, f"other-{number}", filter=filter_table)
        assert (lengths_of(table) == TOP).all()
        assert "queries_searched_deeper" not in counts


def test_with_sources_or_a_corpus_that_has_no_more_nothing_is_searched_deeper(crowded):
    table, counts = judged(crowded, "sources", retrieve={"source": [{"kind": "dense"}]})
    assert (lengths_of(table) == TOP).all()
    assert "queries_searched_deeper" not in counts
    _, counts = judged(crowded, "whole", top_k=DOCS - 1)
    assert counts["queries_searched_deeper"] == 0
    assert counts["queries_short_at_max_top_k"] == 0


def test_later_stages_take_the_longer_lists(crowded):
    made = config(crowded, "whole-run", emit={"num_negatives": 5, "choose": "diverse", "batch_size": 8})
    results = {one.stage: one for one in run(made)}
    assert results["emit"].counts["examples_full"] == QUERIES - 1
    assert "81 queries searched deeper, to at most 299 candidates" in _result(results["filter"])
    shown = explain_query(made, "q7", top=None)["anchors"][0]["candidates"]
    assert len(shown) >= 160
    assert sum(one["chosen"] for one in shown) == 5
    report = (made.out_folder / "report" / "report.json").read_text()
    assert '"queries_searched_deeper": 81' in report


def test_an_anchor_is_short_if_it_keeps_too_few_and_lost_some_as_likely_positives():
    cells = [("keep", 0), ("percent", 0), ("keep", 1), ("keep", 1), ("percent", 1), ("absolute", 2), ("positive", 3)]
    codes = np.array([CODES[name] for name, _ in cells], dtype=np.int8)
    anchor = np.array([number for _, number in cells])
    counts = verdict_counts(codes, anchor, 5)
    assert short_anchors(counts, 2).tolist() == [True, False, False, False, False]
    assert short_anchors(counts, 3).tolist() == [True, True, False, False, False]
    assert not short_anchors(counts, 0).any()
    counts[0, CODES["multi_similarity"]] = 1  # what is below it is too easy as well
    assert not short_anchors(counts, 2).any()


@pytest.mark.parametrize("rule", ["percent", "none"])
def test_a_shard_with_many_cells_is_judged_in_several_files_with_the_same_rows(crowded, monkeypatch, rule):
    made = {"filter": {"rule": rule}, "shard_rows": 512}
    table, counts = judged(crowded, f"whole-{rule}", **made)
    monkeypatch.setattr(step, "CELLS", 100 * (TOP + 1))
    parts, same_counts = judged(crowded, f"cut-{rule}", **made)
    assert len(Shards(crowded / f"whole-{rule}" / "filter", JUDGED)) == 2
    assert len(Shards(crowded / f"cut-{rule}" / "filter", JUDGED)) == 7  # 512 queries by 100, and the other 48
    assert parts.equals(table)
    assert same_counts == counts


def test_verdicts_of_scattered_rows_become_strings_without_copies_of_what_they_were_taken_from(crowded):
    made = config(crowded, "scattered", filter={"rule": "percent"})
    run(made, ["ingest", "embed", "index", "retrieve", "filter"])
    coded, plain = (
        pa.concat_tables(Shards(made.out_folder / "filter", schema)).combine_chunks()
        for schema in (JUDGED_CODED, JUDGED)
    )
    backwards = range(coded.num_rows - 1, -1, -1)
    scattered = pa.concat_tables([coded.slice(row, 1) for row in backwards])
    before = pa.total_allocated_bytes()
    decoded = step._decoded(scattered)
    taken = pa.total_allocated_bytes() - before
    assert decoded.equals(plain.take(pa.array(backwards)))
    assert taken < 2 * plain.column("verdicts").nbytes
