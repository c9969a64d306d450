"""The metadata filter against a plain double loop, and over the whole pipeline: every kind of input and source."""

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine import run
from hnmine.arrays.dots import dots
from hnmine.arrays.topk import NOTHING, unpack
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.config.file import check_config
from hnmine.config.retrieve import WhereConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError
from hnmine.readers.metadata import as_ordered, as_values, order_of
from hnmine.runtime.stage import RunContext
from hnmine.search.candidate_pool import CandidateLimits
from hnmine.search.dense_search import FilteredProposer, add_positives
from hnmine.search.exact import search
from hnmine.search.metadata_filter import FieldCondition, MetadataFilter, lists_with_any, number_lists, row_classes
from hnmine.stages.filter.hidden_positives import count_usable, hide
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.shard_counts import usable_queries
from tests import oracles
from tests.pipeline.helpers import doc_ids, emitted, rows, table, vectors
from tests.search.test_exact import InBlocks, found, random_vectors, tied_vectors
from tests.strategies import flat, thorough
from tests.support import config_for, make_collection, tree, write_jsonl

VALUES = 4
sets = st.lists(st.integers(0, VALUES - 1), max_size=3).map(lambda own: sorted(set(own)))


def condition(must, missing, documents, queries, with_="query"):
    config = WhereConfig(**{"field": "f", "must": must, "missing": missing, "with": with_})
    return FieldCondition(config, flat(documents, np.int64), flat(queries, np.int64), VALUES)


@st.composite
def worlds(draw, documents=12, queries=6):
    """Some conditions over the same documents and queries, and what they are made of."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        must = draw(st.sampled_from(["match", "differ", "before", "after"]))
        missing = draw(st.sampled_from([None, "allow", "forbid"]))
        own = draw(st.lists(sets, min_size=documents, max_size=documents))
        theirs = draw(st.lists(sets, min_size=queries, max_size=queries))
        parts.append((must, missing, own, theirs))
    return MetadataFilter.of([condition(*part) for part in parts]), parts


def plainly(parts, query, document):
    return all(
        oracles.permitted(must, missing == "allow" if missing else must == "differ", own[document], theirs[query])
        for must, missing, own, theirs in parts
    )


@given(st.lists(sets, max_size=8), st.lists(st.booleans(), min_size=VALUES, max_size=VALUES), st.integers(0, 8))
def test_any_wanted_is_a_loop_over_every_list(lists, wanted, first):
    ragged, flags = flat(lists, np.int64), np.array(wanted)
    offsets = ragged.offsets[min(first, len(lists)) :]
    expected = [any(wanted[value] for value in own) for own in lists[first:]]
    assert lists_with_any(ragged.values, offsets, flags).tolist() == expected


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=8))
def test_equal_lists_and_they_alone_have_the_same_number(lists):
    ragged = flat(lists, np.int64)
    numbers = number_lists(ragged)
    assert sorted(set(numbers.tolist())) == list(range(len(set(map(tuple, lists)))))
    for one, own in enumerate(lists):
        for other, theirs in enumerate(lists):
            assert (numbers[one] == numbers[other]) == (own == theirs)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8))
def test_rows_are_in_one_class_where_all_columns_agree(rows):
    classes, first = row_classes([np.array(column) for column in zip(*rows, strict=True)])
    assert [rows[first[number]] for number in classes] == rows
    assert len(first) == len(set(rows))


@thorough
@given(worlds(), st.integers(0, 12), st.integers(0, 12))
def test_masks_and_pairs_are_the_double_loop(world, one, other):
    where, parts = world
    low, high = sorted((one, other))
    for query in range(6):
        expected = [plainly(parts, query, d) for d in range(12)]
        assert where.mask(int(where.classes[query]), low, high).tolist() == expected[low:high]
        assert where.allows(np.full(12, query), np.arange(12)).tolist() == expected


@given(worlds(), st.data())
def test_knowing_one_positive_compares_with_that_document_alone(world, data):
    _, parts = world
    must, missing, own, theirs = parts[0]
    where = MetadataFilter.of([condition(must, missing, own, theirs, "positive")])
    known = np.array(data.draw(st.lists(st.integers(0, 11), min_size=12, max_size=12)))
    expected = [plainly([(must, missing, own, own)], known[d], d) for d in range(12)]
    assert where.allows(np.zeros(12, dtype=np.int64), np.arange(12), known).tolist() == expected


def limited(corpus, queries, k, where, rows):
    return search(corpus, queries, k, FilteredProposer(corpus, where, rows))


def full_ranking(parts, corpus, queries, k, positives=()):
    """Rank all documents of each query, take out those not allowed, cut at k; positives stay and do not count."""
    out = []
    for query, scores in enumerate(dots(queries, corpus).tolist()):
        own = positives[query] if positives else []
        ranking, counted = [], 0
        for d in oracles.topk(scores, len(scores)):
            if counted == k:
                break
            if d in own or plainly(parts, query, d):
                ranking.append((scores[d], d))
                counted += d not in own
        out.append(ranking)
    return out


@thorough
@given(worlds(documents=40, queries=8), st.integers(1, 12), st.integers(0, 5), st.integers(0, 50), st.data())
def test_a_search_is_the_full_ranking_without_what_is_not_allowed(world, k, kinds, seed, data):
    where, parts = world
    corpus = tied_vectors(40, 4, kinds, seed) if kinds else random_vectors(40, 4, seed)
    # every query three times: some classes are searched together, others one by one
    rows = np.tile(np.arange(8), data.draw(st.sampled_from([1, 3, 20])))
    queries = random_vectors(8, 4, seed + 1)[rows]
    cuts = data.draw(st.lists(st.integers(1, 39), max_size=3, unique=True))
    keys = limited(InBlocks(corpus, cuts), queries, k, where, rows)
    expected = full_ranking(parts, corpus, queries[:8], k)
    assert found(keys) == [expected[row] for row in rows]
    for row, hits in zip(rows, found(keys), strict=True):
        assert all(plainly(parts, row, d) for _, d in hits)


@pytest.mark.parametrize("copies", [1, 20])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_ties_at_the_kth_place_go_by_exact_score_then_row_under_conditions(copies, share):
    generator = np.random.default_rng(7)
    corpus = np.repeat(random_vectors(1, 64, 1), 3000, axis=0)
    some = generator.random(3000) < 0.3
    corpus[some] += (generator.standard_normal((some.sum(), 64)) * 1e-7).astype(np.float32)
    own = [[int(value)] for value in generator.random(3000) > share]
    parts = [("match", None, own, [[0], [1], []])]
    rows = np.tile(np.arange(3), copies)
    queries = random_vectors(3, 64, 11)
    where = MetadataFilter.of([condition(*part) for part in parts])
    keys = limited(InBlocks(corpus, [700, 1800]), queries[rows], 20, where, rows)
    expected = full_ranking(parts, corpus, queries, 20)
    assert found(keys) == [expected[row] for row in rows]
    assert [len(one) for one in expected] == [20, 20, 0]


@given(worlds(documents=20, queries=4), st.integers(1, 6), st.integers(0, 20), st.data())
def test_positives_stand_where_their_score_puts_them_whatever_the_conditions(world, k, seed, data):
    where, parts = world
    rows = st.lists(st.integers(0, 19), min_size=1, max_size=3, unique=True).map(sorted)
    positives = data.draw(st.lists(rows, min_size=4, max_size=4))
    corpus, queries = tied_vectors(20, 4, 6, seed), random_vectors(4, 4, seed + 1)
    lists, numbers = flat(positives, np.int64), np.arange(4)
    keys = limited(InBlocks(corpus, [9]), queries, k + 3, where, numbers)
    allowed = where.allows(lists.owners, lists.values)
    keys = add_positives(keys, corpus[lists.values], lists, queries, allowed)
    expected = full_ranking(parts, corpus, queries, k, positives)
    for row, hits in zip(keys, expected, strict=True):
        _, documents = unpack(row[row != NOTHING])
        assert documents[: len(hits)].tolist() == [d for _, d in hits]
        assert len(set(documents.tolist())) == len(documents)


@pytest.mark.parametrize(
    ("given_", "texts"),
    [
        (7, ["7"]), (7.0, ["7"]), ("7", ["7"]), ("007", ["007"]), (2.5, ["2.5"]), (True, ["true"]), ("True", ["true"]),
        (None, []), ("", []), (float("nan"), []), ([], []), (" en ", ["en"]), (["b", "a", "b", None], ["a", "b"]),
        (datetime.date(2024, 5, 1), ["2024-05-01"]), (datetime.datetime(2024, 5, 1), ["2024-05-01"]),
        (datetime.datetime(2024, 5, 1, 9), ["2024-05-01T09:00:00"]), ({"a": 1}, None), (b"x", None),
    ],
)  # fmt: skip
def test_values_are_texts_that_are_equal_where_the_values_are(given_, texts):
    assert as_values(given_) == texts


def test_numbers_and_dates_have_an_order_and_other_texts_none():
    dates = ["2023-12-31", "2024-05-01", "2024-05-01T09:00:00", "2024-05-01T09:00:00-02:00"]
    orders = [order_of(text) for text in dates]
    assert [order[0] for order in orders] == ["date"] * 4
    assert orders == sorted(orders)
    assert order_of("2024-05-01") == order_of("2024-05-01T00:00:00Z")
    assert order_of("9")[1] < order_of("10.5")[1]
    assert order_of("soon") is None
    assert order_of("inf") is None
    assert as_ordered(["2024-05-01", "soon"]) is None


DOCUMENTS, QUERIES, TOP_K = 300, 280, 6
LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}
LANGUAGE: dict[str, Any] = {"field": "lang"}
BEFORE: dict[str, Any] = {"field": "date", "must": "before", "query_field": "asked"}
TOPIC: dict[str, Any] = {"field": "topic", "must": "differ", "with": "positive"}
FOUND = ["ingest", "embed", "index", "retrieve"]
COLUMNS = ["query_id", "positive_id", "negative_id", "source"]


def languages(number: int) -> list[str]:
    """Return two languages for every fifth text, none for every eleventh."""
    return [] if number % 11 == 0 else ["en", "de"] if number % 5 == 0 else [("en", "de", "fr")[number % 3]]


def document(number: int) -> dict[str, Any]:
    date = f"2024-{1 + number % 12:02d}-{1 + number % 28:02d}"
    return {"lang": languages(number), "date": date, "topic": number % 4}


def question(number: int) -> dict[str, Any]:
    return {"lang": languages(number + 1), "asked": f"2024-{1 + number % 12:02d}-15"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("where"), DOCUMENTS, QUERIES)
    for side, more in (("corpus", document), ("queries", question)):
        lines = [json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines()]
        write_jsonl(folder / f"{side}.jsonl", [{**line, **more(n)} for n, line in enumerate(lines)])
    lines = [f"q{q} Q0 d{(q * 37 + s * 11) % DOCUMENTS} {s} {10 - s} x" for q in range(QUERIES) for s in range(9)]
    (folder / "theirs.run").write_text("\n".join(lines) + "\n")
    return folder


def config(base: Path, out: str = "out", where: Any = None, **tables: Any) -> Config:
    retrieve = {"top_k": TOP_K, "where": where or [LANGUAGE, BEFORE, TOPIC], **tables.pop("retrieve", {})}
    emit = {"extra_columns": COLUMNS, "num_negatives": 4, **tables.pop("emit", {})}
    return config_for(base, out, **{"shard_rows": 256, "filter": LOOSE, "retrieve": retrieve, "emit": emit, **tables})


def allowed(query: int, number: int, positives: list[int]) -> bool:
    """The three conditions in plain words; ids and rows are the same numbers in this collection."""
    one, other = document(number), question(query)
    topics = [document(p)["topic"] for p in positives]
    return (
        oracles.permitted("match", False, one["lang"], other["lang"])
        and oracles.permitted("before", False, [one["date"]], [other["asked"]])
        and oracles.permitted("differ", True, [one["topic"]], topics)
    )


@pytest.fixture(scope="module")
def mined(base: Path) -> Path:
    run(config(base))
    return base / "out"


def test_candidates_are_the_full_ranking_without_what_is_not_allowed_cut_at_k(mined: Path) -> None:
    assert doc_ids(mined) == [f"d{n}" for n in range(DOCUMENTS)]
    scores = vectors(mined, "queries") @ vectors(mined, "corpus").T
    full = 0
    for query, row in enumerate(rows(mined / "retrieve")):
        own = row["positive_rows"]
        may = [d for d in range(DOCUMENTS) if d in own or allowed(query, d, own)]
        others = [d for d in row["doc_rows"] if d not in own]
        assert set(row["doc_rows"]) <= set(may)
        assert len(others) == min(TOP_K, len(set(may) - set(own)))
        full += len(others) == TOP_K
        if row["doc_rows"]:
            last = min(row["scores"])
            left = [d for d in may if d not in row["doc_rows"]]
            assert len(others) < TOP_K or all(scores[query][d] <= last + 1e-6 for d in left)
    assert full > QUERIES / 2


def test_every_query_keeps_its_own_class_where_each_has_a_date_of_its_own(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "c", ignore=shutil.ignore_patterns("out*"))
    queries = [json.loads(line) for line in (base / "queries.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "c/queries.jsonl", [{**q, "asked": 1000 + 7 * n} for n, q in enumerate(queries)])
    corpus = [json.loads(line) for line in (base / "corpus.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "c/corpus.jsonl", [{**d, "date": str(1000 + 7 * n)} for n, d in enumerate(corpus)])
    run(config(tmp_path / "c", where=[{**BEFORE, "must": "after"}]), FOUND)
    for query, row in enumerate(rows(tmp_path / "c/out/retrieve")):
        others = [d for d in row["doc_rows"] if d not in row["positive_rows"]]
        assert all(d >= query for d in others)
        assert len(others) == min(TOP_K, len(set(range(query, DOCUMENTS)) - set(row["positive_rows"])))


@pytest.mark.slow
def test_the_same_bytes_with_two_workers_and_the_same_content_in_other_shards(base: Path, mined: Path) -> None:
    run(config(base, "pooled", workers=2))
    assert tree(base / "pooled") == tree(mined)
    run(config(base, "large", shard_rows=4096))
    for stage in ("retrieve", "filter", "emit"):
        assert table(base / "large" / stage).equals(table(mined / stage))
    for side in ("corpus", "queries"):
        parts = [pq.read_table(out / f"retrieve/fields/{side}.parquet") for out in (mined, base / "large")]
        assert parts[0].replace_schema_metadata(None).equals(parts[1].replace_schema_metadata(None))


def test_words_and_imported_runs_find_only_what_is_allowed(base: Path) -> None:
    source = [{"kind": "dense"}, {"kind": "bm25", "stem": False}, {"kind": "run", "path": "theirs.run", "top_k": 4}]
    run(config(base, "sources", retrieve={"source": source}), FOUND)
    counts = np.zeros(3)
    for query, row in enumerate(rows(base / "sources/retrieve")):
        own = row["positive_rows"]
        ranks = [row["source_ranks"][n : n + 3] for n in range(0, len(row["source_ranks"]), 3)]
        assert all(d in own or allowed(query, d, own) for d in row["doc_rows"])
        for kind in range(3):
            theirs = sorted((r[kind], d) for r, d in zip(ranks, row["doc_rows"], strict=True) if r[kind])
            assert [rank for rank, _ in theirs] == list(range(1, len(theirs) + 1))
            counts[kind] += len(theirs)
        listed = [(query * 37 + s * 11) % DOCUMENTS for s in range(9)]
        expected = [d for d in listed if d in own or allowed(query, d, own)]
        cut = next((n for n in range(len(expected)) if sum(d not in own for d in expected[:n]) == 4), len(expected))
        run_list = sorted((r[2], d) for r, d in zip(ranks, row["doc_rows"], strict=True) if r[2])
        assert [d for _, d in run_list] == expected[:cut]
    assert (counts > QUERIES).all()


@pytest.mark.parametrize("cap", [None, 2])
def test_random_documents_are_allowed_ones(base: Path, cap: int | None) -> None:
    emit = {"choose": "mixed", "random_share": 0.5, "fallback": "random", "max_per_document": cap}
    run(config(base, f"random-{cap}", emit=emit))
    found = emitted(base / f"random-{cap}")
    drawn = [row for row in found if row["source"] == "random"]
    assert len(drawn) > QUERIES / 2
    positives = [row["positive_rows"] for row in rows(base / f"random-{cap}" / "retrieve")]
    for row in found:
        query = int(row["query_id"][1:])
        assert allowed(query, int(row["negative_id"][1:]), positives[query])


def test_the_protocol_hides_only_positives_that_a_search_would_find(base: Path, mined: Path) -> None:
    settings = config(base)
    seen = 0
    for batch, keys in FilterInputs.open(RunContext(settings, mined)).batches():
        hidden = hide(batch, keys, CandidateLimits.of(settings.retrieve), 2, 0, np.ones(len(batch), dtype=bool))
        for place in range(len(hidden.batch)):
            query, known = int(hidden.batch.query_rows[place]), int(hidden.batch.positives.values[place])
            own = slice(*hidden.batch.candidates.offsets[place : place + 2])
            documents = hidden.batch.candidates.values[own].tolist()
            assert all(d == known or allowed(query, d, [known]) for d in documents)
            seen += int(hidden.is_hidden[own].sum())
    assert seen > 0
    assert usable_queries(mined / "filter") == count_usable(FilterInputs.open(RunContext(settings, mined)).batches)


def test_explain_names_candidates_and_their_verdicts(base: Path, mined: Path) -> None:
    found = explain_query(config(base), "q3")
    assert {c["doc_id"] for c in found["anchors"][0]["candidates"]} == {
        f"d{d}" for d in rows(mined / "retrieve")[3]["doc_rows"]
    }


def test_without_conditions_nothing_is_read_and_keys_are_as_before(base: Path) -> None:
    plain = config_for(base, "plain")
    run(plain, FOUND)
    assert not (base / "plain/retrieve/fields").exists()
    parts = json.loads((base / "plain/retrieve/_manifest.json").read_text())["parts"]
    assert "where" not in parts
    assert "where" not in parts["retrieve"]


def test_an_approximate_index_gives_way_to_exact_search_and_says_so(base: Path) -> None:
    results = run(config(base, "hnsw", index={"kind": "hnsw"}), FOUND[:3])
    assert results[-1].counts["kind"] == "flat"
    assert "not hnsw, because of retrieve.where" in results[-1].counts["reason"]


FORMATS = ("parquet", "csv", "tsv", "nested")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_values(tmp_path: Path, kind: str) -> None:
    make_collection(tmp_path, 20, 6)
    values: list[Any] = [None if n == 3 else n % 2 for n in range(20)]
    names = {}
    for side in ("corpus", "queries"):
        lines = [json.loads(line) for line in (tmp_path / f"{side}.jsonl").read_text().splitlines()]
        given = [{**line, "tenant": values[n]} for n, line in enumerate(lines)]
        path = tmp_path / f"new-{side}.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(given), path)
        elif kind == "nested":
            path = tmp_path / f"new-{side}.jsonl"
            write_jsonl(path, [{**line, "metadata": {"tenant": values[n]}} for n, line in enumerate(lines)])
        else:
            sign = "," if kind == "csv" else "\t"
            texts = [[str(v) if v is not None else "" for v in row.values()] for row in given]
            path.write_text("\n".join(sign.join(row) for row in [list(given[0]), *texts]) + "\n")
        names[side] = path.name
    where = [{"field": "tenant"}]
    run(config_for(tmp_path, input=names, retrieve={"where": where}), FOUND)
    found = pq.read_table(tmp_path / "out/retrieve/fields/corpus.parquet").to_pylist()
    assert [(row["row"], row["value"]) for row in found] == [(n, str(n % 2)) for n in range(20) if n != 3]
    for query, row in enumerate(rows(tmp_path / "out/retrieve")):
        others = set(row["doc_rows"]) - set(row["positive_rows"])
        assert all(query != 3 and values[d] == values[query] for d in others)
        assert len(others) >= (0 if query == 3 else 7)


def test_pairs_give_their_row_s_values_to_both_sides_and_copies_have_those_of_all(tmp_path: Path) -> None:
    texts = ["one fish", "two fish", "red fish", "blue fish", "old fish", "new fish"]
    pairs = [{"anchor": f"which {n}", "positive": texts[n], "site": [["a"], ["b"]][n % 2]} for n in range(6)]
    pairs.append({"anchor": "which 0", "positive": "one  fish", "site": ["b"]})
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    raw = {
        "out": "out",
        "input": {"pairs": "pairs.jsonl"},
        "embed": {"model": "hash"},
        "report": {"html": False},
        "retrieve": {"top_k": 10, "where": [{"field": "site"}]},
    }
    run(check_config(raw, "test", tmp_path), FOUND)
    found = rows(tmp_path / "out/retrieve")
    assert [sorted(row["doc_rows"]) for row in found] == [
        [0, 1, 2, 3, 4, 5], [0, 1, 3, 5], [0, 2, 4], [0, 1, 3, 5], [0, 2, 4], [0, 1, 3, 5],
    ]  # fmt: skip


def test_a_column_that_is_not_there_is_said_at_once_with_those_that_are(base: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(
            config(base, "wrong", where=[{"field": "langauge"}, {"field": "lang", "query_field": "tongue"}]), ["ingest"]
        )
    message = str(caught.value)
    assert "corpus.jsonl: no column 'langauge' (retrieve.where); it has: doc_id, text, lang, date, topic" in message
    assert "queries.jsonl: no column 'tongue'" in message


def test_values_that_make_no_sense_are_named_with_their_line(base: Path) -> None:
    with pytest.raises(InputError, match=r"queries.jsonl line 1: lang: numbers or ISO dates"):
        run(config(base, "wrong", where=[{"field": "date", "must": "before", "query_field": "lang"}]), FOUND)
    with pytest.raises(InputError, match="numbers and dates"):
        run(config(base, "mixed", where=[{"field": "topic", "must": "before", "query_field": "asked"}]), FOUND)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([{"field": "a", "with": "document"}], "retrieve.where.0.with: input should be 'query' or 'positive'"),
        ([{"field": "a", "With": "query"}], "unknown key"),
        ([{"must": "match"}], "retrieve.where.0.field: field required"),
        ([{"field": "a", "with": "positive", "query_field": "b"}], "leave query_field out"),
        ([{"field": "a"}, {"field": "a"}], "repeats an earlier condition"),
        ([{"field": "a"}, {"field": "a", "must": "differ"}], "cannot both match and differ"),
    ],
)
def test_conditions_that_cannot_work_are_refused(tmp_path: Path, where: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_for(tmp_path, retrieve={"where": where})
    assert message in str(caught.value)


def test_a_field_that_no_query_has_is_warned_of(tmp_path: Path) -> None:
    make_collection(tmp_path, 30, 6)
    queries = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "queries.jsonl", [{**q, "lang": ""} for q in queries])
    corpus = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    write_jsonl(tmp_path / "corpus.jsonl", [{**d, "lang": "en"} for d in corpus])
    counts = run(config_for(tmp_path, retrieve={"where": [{"field": "lang"}]}), FOUND)[-1].counts
    assert "no query has a value there, so no document is allowed" in counts["warning"]
    assert counts["where"] == [
        {"condition": "lang match query", "queries_without_value": 6, "documents_without_value": 0}
    ]


def test_plan_checks_columns_and_warns_of_what_looks_wrong(base: Path) -> None:
    plan = make_plan(config(base, "planned", index={"kind": "hnsw"}, where=[{**LANGUAGE, "missing": "allow"}]))
    assert any("retrieve.where" in warning and "hnsw" in warning for warning in plan["warnings"])
    with pytest.raises(InputError, match="no column 'nothing'"):
        make_plan(config(base, "planned", where=[{"field": "nothing"}]))
