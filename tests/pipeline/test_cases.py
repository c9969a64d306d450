"""The cases that mining code tends to miss, each from the user's files to the emitted rows."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.errors import InputError
from tests.pipeline.helpers import ALL_EXTRA, by_vectors, doc_ids, emitted, plane, report, rows, table, vectors
from tests.support import WORDS, config_for, make_collection, write_collection, write_jsonl

LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}
EMIT = {"num_negatives": 3, "extra_columns": ALL_EXTRA}


def mine(folder: Path, out: str = "out", **tables: Any) -> Path:
    emit = {**EMIT, **tables.pop("emit", {})}
    run(config_for(folder, out, emit=emit, **tables))
    return folder / out


# --- several positives ------------------------------------------------------------------------------------------


def percent(scores: np.ndarray, anchor: np.float32, share: float) -> np.ndarray:
    return scores <= anchor - np.float32(1 - share) * np.abs(anchor)


def test_each_of_ragged_positives_is_an_anchor_of_its_own(tmp_path: Path) -> None:
    out = mine(make_collection(tmp_path), filter={"percent": 0.9, "max_positive_similarity": 0.7})
    documents, queries = vectors(out, "corpus"), vectors(out, "queries")
    lengths = set()
    for row in rows(out / "filter"):
        query, own, found = queries[row["query_row"]], row["positive_rows"], row["doc_rows"]
        lengths.add(len(own))
        assert own == sorted(own)
        np.testing.assert_allclose(row["positive_scores"], documents[own] @ query, atol=1e-6)
        np.testing.assert_allclose(row["scores"], documents[found] @ query, atol=1e-6)
        similar = np.array(row["similarities"], dtype=np.float32).reshape(len(found), len(own))
        np.testing.assert_allclose(similar, documents[found] @ documents[own].T, atol=1e-6)
        assert row["anchor_scores"] == row["positive_scores"]
        assert len(row["verdicts"]) == len(own)
        scores = np.array(row["scores"], dtype=np.float32)
        for anchor, verdicts in zip(row["anchor_scores"], row["verdicts"], strict=True):
            far = percent(scores, np.float32(anchor), 0.9)
            expected = [
                "positive" if document in own
                else "near_copy_of_positive" if near > np.float32(0.7)
                else "near_copy_of_query" if score > np.float32(0.98)
                else "keep" if kept
                else "percent"
                for document, near, score, kept in zip(found, similar.max(axis=1), scores, far, strict=True)
            ]  # fmt: skip
            assert verdicts == expected
    assert lengths == {1, 2}
    check_emitted_against_verdicts(out, wanted=3)


def check_emitted_against_verdicts(out: Path, wanted: int) -> None:
    """Hold triplets to the stored verdicts: of each (query, positive) the best `wanted` candidates that were kept."""
    names = doc_ids(out)
    expected = []
    for row in rows(out / "filter"):
        for place, positive in enumerate(row["positive_rows"]):
            anchor = place if len(row["anchor_scores"]) > 1 else 0
            kept = [i for i, verdict in enumerate(row["verdicts"][anchor]) if verdict == "keep"][:wanted]
            expected.extend(
                {
                    "query_id": row["query_id"],
                    "positive_id": names[positive],
                    "negative_id": names[row["doc_rows"][i]],
                    "positive_score": row["positive_scores"][place],
                    "negative_score": row["scores"][i],
                    "anchor_score": row["anchor_scores"][anchor],
                    "rank": row["ranks"][i],
                }
                for i in kept
            )
    found = emitted(out)
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert {row["rule"] for row in found} == {"percent"}


@pytest.mark.parametrize(("anchor", "reduce"), [("min", min), ("max", max), ("mean", np.mean)])
def test_one_anchor_for_all_positives(tmp_path: Path, anchor: str, reduce: Any) -> None:
    out = mine(make_collection(tmp_path), filter={"anchor": anchor})
    for row in rows(out / "filter"):
        np.testing.assert_allclose(row["anchor_scores"], [reduce(row["positive_scores"])], rtol=1e-6)
    check_emitted_against_verdicts(out, wanted=3)


def test_texts_are_those_of_the_ids(tmp_path: Path) -> None:
    make_collection(tmp_path)
    out = mine(tmp_path)
    documents = dict(zip(*table(out / "ingest/corpus").select(["doc_id", "text"]).to_pydict().values(), strict=True))
    queries = dict(zip(*table(out / "ingest/queries").select(["query_id", "text"]).to_pydict().values(), strict=True))
    for row in emitted(out):
        assert row["anchor"] == queries[row["query_id"]]
        assert row["positive"] == documents[row["positive_id"]]
        assert row["negative"] == documents[row["negative_id"]]


def noisy(folder: Path, **tables: Any) -> Path:
    """Mine a query with a good positive (10 degrees away), a bad label (85), and negatives from 30 to 70."""
    documents = plane(10, 85, *range(30, 71, 5), 120, 150, 180, 210, 240, 270)
    config = by_vectors(folder, documents, plane(0), [[0, 1]], **tables)
    run(config)
    return folder / "out"


def test_one_bad_label_does_not_take_its_query_with_it(tmp_path: Path) -> None:
    out = noisy(tmp_path)
    found = Counter(row["positive_id"] for row in emitted(out))
    assert found["d0"] == 3
    assert report(out)["coverage"] == 1
    suspected = report(out)["suspected_bad_positives"]
    assert [(row["query_id"], row["doc_id"]) for row in suspected["worst"]] == [("q0", "d1")]


def test_where_one_bad_label_does_take_its_query_the_report_counts_it(tmp_path: Path) -> None:
    out = noisy(tmp_path, filter={"anchor": "min"}, retrieve={"top_k": 9, "max_top_k": 9})
    assert emitted(out) == []
    assert report(out)["coverage"] == 0
    assert report(out)["shortage"]["examples_without_negatives"] == 1
    assert report(out)["suspected_bad_positives"]["count"] == 1


# --- small, large and odd collections ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_fewer_documents_than_top_k(tmp_path: Path, kind: str) -> None:
    out = mine(make_collection(tmp_path, 5, 3), retrieve={"top_k": 200}, index={"kind": kind}, filter=LOOSE)
    for row in rows(out / "retrieve"):
        assert sorted(row["doc_rows"]) == [0, 1, 2, 3, 4]
        assert row["ranks"] == [1, 2, 3, 4, 5]
    assert report(out)["counts"]["retrieve"]["queries_with_fewer_than_top_k"] == 3
    assert emitted(out)


def test_one_document(tmp_path: Path) -> None:
    write_collection(tmp_path, {"d": "amber"}, {"q": "amber reef"}, [("q", "d", 1)])
    out = mine(tmp_path)
    assert emitted(out) == []
    assert report(out)["coverage"] == 0
    assert report(out)["eci"] == 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection of 500 documents and 60 queries, mined with every document as a candidate."""
    folder = make_collection(tmp_path_factory.mktemp("kinds"), 500, 60)
    mine(folder, "all", retrieve={"top_k": 499}, index={"kind": "flat"})
    return folder


@pytest.mark.parametrize(
    ("kind", "settings", "recall"),
    [
        ("hnsw", {}, 0.99),
        ("hnsw", {"hnsw_links": 4, "hnsw_search": 1}, 0.3),
        ("ivf", {}, 0.99),
        ("ivf", {"ivf_lists": 12, "ivf_probe": 1}, 0.2),
    ],
)
def test_approximate_candidates_have_exact_scores(
    corpus: Path, kind: str, settings: dict[str, int], recall: float
) -> None:
    exact = {
        row["query_id"]: dict(zip(row["doc_rows"], row["scores"], strict=True)) for row in rows(corpus / "all/retrieve")
    }
    assert {len(found) for found in exact.values()} == {500}
    out = mine(corpus, f"{kind}-{len(settings)}", index={"kind": kind, **settings})
    assert pq.read_table(out / "index/choice.parquet").to_pylist()[0]["kind"] == kind
    hits = wanted = 0
    for row in rows(out / "retrieve"):
        scores = exact[row["query_id"]]
        found = row["doc_rows"]
        assert min(found) >= 0
        assert len(found) == len(set(found))
        assert row["scores"] == [scores[document] for document in found]
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert row["positive_scores"] == [scores[document] for document in row["positive_rows"]]
        others = sorted((s for d, s in scores.items() if d not in row["positive_rows"]), reverse=True)
        # by score and not by document: texts that tie are as good as one another
        found_scores = [scores[d] for d in found if d not in row["positive_rows"]]
        hits, wanted = hits + sum(score >= others[9] for score in found_scores), wanted + 10
    assert hits / wanted >= recall
    assert emitted(out)


def test_exact_candidates_are_the_best_with_ties_by_row(corpus: Path) -> None:
    out = mine(corpus, "flat", index={"kind": "flat"})
    for row, every in zip(rows(out / "retrieve"), rows(corpus / "all/retrieve"), strict=True):
        length = len(row["doc_rows"])
        assert row["doc_rows"] == every["doc_rows"][:length]
        assert row["scores"] == every["scores"][:length]
        assert len(set(row["doc_rows"]) - set(row["positive_rows"])) == 10
        keys = [(-score, document) for score, document in zip(row["scores"], row["doc_rows"], strict=True)]
        assert keys == sorted(keys)


def test_approximate_candidates_do_not_depend_on_which_queries_share_a_shard(tmp_path: Path) -> None:
    """One query with many positives widens the search; it must do so for every shard alike."""
    make_collection(tmp_path, 900, 300)
    with (tmp_path / "qrels.tsv").open("a") as file:
        file.writelines(f"q299\td{document}\t1\n" for document in range(400, 480))
    index = {"kind": "hnsw", "hnsw_links": 4, "hnsw_search": 1}
    one, other = (mine(tmp_path, f"{n}", shard_rows=n, index=index, retrieve={"top_k": 5}) for n in (256, 512))
    assert table(one / "retrieve").equals(table(other / "retrieve"))


def test_odd_texts(tmp_path: Path) -> None:
    corpus = {
        "d0": "?",
        "d1": "!",
        "d2": "\U0001f600",
        "d3": "   ",
        "d4": "a",
        "d5": "zero\u200bwidth",
        "d6": "naïve NAÏVE",
    }
    corpus |= {f"w{i}": word for i, word in enumerate(WORDS)}
    write_collection(
        tmp_path,
        corpus,
        {"q0": "?", "q1": "\U0001f600", "q2": "", "q3": "amber", "q4": "unanswered"},
        [("q0", "d1", 1), ("q1", "d0", 1), ("q2", "d4", 1), ("q3", "d6", 2), ("q4", "d4", 0)],
    )
    out = mine(tmp_path, filter=LOOSE)
    found = emitted(out)
    assert {row["query_id"] for row in found} == {"q0", "q1", "q3"}
    assert "d0" not in {row["negative_id"] for row in found if row["query_id"] == "q0"}
    left_out = pq.read_table(out / "ingest/left_out.parquet").to_pylist()
    assert {(row["kind"], row["id"], row["reason"]) for row in left_out} == {
        ("document", "d3", "empty text"),
        ("query", "q2", "empty text"),
        ("query", "q4", "no positive"),
    }


# --- copies and other people's positives --------------------------------------------------------------------------


def test_identical_documents_do_not_eat_the_candidates(tmp_path: Path) -> None:
    copies = {f"copy{i}": "amber  reef\ttide" if i % 2 else "amber reef tide" for i in range(50)}
    others = {f"other{i}": f"amber reef {word} {i}" for i, word in enumerate(WORDS)}
    write_collection(
        tmp_path, {"good": "amber reef basalt", **copies, **others}, {"q": "amber reef"}, [("q", "good", 1)]
    )
    out = mine(tmp_path, filter=LOOSE, emit={"num_negatives": 10})
    found = emitted(out)
    assert len({row["negative"] for row in found}) == len(found) == 10
    assert [row["negative_id"] for row in found if row["negative_id"].startswith("copy")] == ["copy0"]
    aliases = table(out / "ingest/aliases").column("doc_id").to_pylist()
    assert aliases == [f"copy{i}" for i in range(1, 50)]


def test_copies_apart_from_case_and_signs_serve_once(tmp_path: Path) -> None:
    copies = {f"copy{i}": text for i, text in enumerate(["Amber reef, tide", "amber reef tide!", "AMBER REEF TIDE"])}
    others = {f"other{i}": f"{word} {i}" for i, word in enumerate(WORDS)}
    write_collection(
        tmp_path, {"good": "amber reef basalt", **copies, **others}, {"q": "amber reef"}, [("q", "good", 1)]
    )
    out = mine(tmp_path, filter=LOOSE)
    assert [row["negative_id"] for row in emitted(out) if row["negative_id"].startswith("copy")] == ["copy0"]
    assert report(out)["verdicts"]["copy_of_negative"] == 2


def test_a_copy_of_a_positive_is_no_negative(tmp_path: Path) -> None:
    copies = {"same": "amber reef basalt", "shout": "AMBER reef -- basalt."}
    others = {f"other{i}": f"amber {word} {i}" for i, word in enumerate(WORDS)}
    write_collection(
        tmp_path, {"good": "Amber reef basalt", **copies, **others}, {"q": "amber reef"}, [("q", "good", 1)]
    )
    out = mine(tmp_path, filter=LOOSE, emit={"num_negatives": 10})
    assert not {row["negative_id"] for row in emitted(out)} & {"same", "shout", "good"}
    assert report(out)["verdicts"]["copy_of_positive"] == 2


def test_the_querys_own_text_is_no_negative(tmp_path: Path) -> None:
    others = {f"other{i}": f"amber {word} {i}" for i, word in enumerate(WORDS)}
    write_collection(
        tmp_path, {"echo": "Amber, REEF?", "good": "basalt", **others}, {"q": "amber reef"}, [("q", "good", 1)]
    )
    out = mine(tmp_path, filter=LOOSE, emit={"num_negatives": 10})
    assert "echo" not in {row["negative_id"] for row in emitted(out)}
    assert report(out)["verdicts"]["copy_of_query"] == 1


@pytest.mark.parametrize("anchor", ["each", "min"])
def test_a_positive_of_the_same_query_on_another_line_is_no_negative(tmp_path: Path, anchor: str) -> None:
    others = {f"other{i}": f"basalt {word} {i}" for i, word in enumerate(WORDS)}
    corpus = {"one": "amber reef one", "two": "amber reef two", "three": "amber reef three", **others}
    queries = {"q0": "amber reef", "q1": "Amber reef!", "q2": "amber   reef", "q3": "amber tide"}
    qrels = [("q0", "one", 1), ("q1", "two", 1), ("q2", "three", 1), ("q2", "one", 1), ("q3", "other5", 1)]
    write_collection(tmp_path, corpus, queries, qrels)
    out = mine(tmp_path, filter={**LOOSE, "anchor": anchor})
    negatives = {query: {row["negative_id"] for row in emitted(out) if row["query_id"] == query} for query in queries}
    for query in ("q0", "q1", "q2"):
        assert negatives[query]
        assert not negatives[query] & {"one", "two", "three"}
    assert len(negatives["q3"] & {"one", "two", "three"}) >= 2


def test_pairs_with_the_same_anchor_are_one_query(tmp_path: Path) -> None:
    pairs = [{"anchor": "amber reef", "positive": f"amber reef {n}"} for n in ("one", "two")]
    pairs += [{"anchor": f"{word} {i}", "positive": f"amber {word} {i}"} for i, word in enumerate(WORDS)]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    given = {"corpus": None, "queries": None, "qrels": None, "pairs": "pairs.jsonl"}
    out = mine(tmp_path, input=given, filter=LOOSE)
    found = [row for row in emitted(out) if row["anchor"] == "amber reef"]
    assert {row["positive"] for row in found} == {"amber reef one", "amber reef two"}
    assert not {row["negative"] for row in found} & {"amber reef one", "amber reef two"}


# --- choosing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choose", ["top", "random"])
@pytest.mark.parametrize("cap", [1, 3])
def test_a_cap_on_documents_holds_over_all_shards(tmp_path: Path, choose: str, cap: int) -> None:
    make_collection(tmp_path, 300, 520)
    emit = {"choose": choose, "max_per_document": cap, "num_negatives": 3}
    out = mine(tmp_path, emit=emit, filter={"percent": 1.0}, shard_rows=256)
    assert len(list((out / "emit").glob("part-*"))) == 3
    served = Counter(row["negative_id"] for row in emitted(out))
    assert max(served.values()) == cap
    assert report(out)["hubs"]["most_served"] == cap


def test_chosen_at_random_are_kept_candidates_without_repeats(tmp_path: Path) -> None:
    out = mine(make_collection(tmp_path), emit={"choose": "random"})
    names = doc_ids(out)
    kept = {
        (row["query_id"], names[positive]): {
            names[document] for document, verdict in zip(row["doc_rows"], verdicts, strict=True) if verdict == "keep"
        }
        for row in rows(out / "filter")
        for positive, verdicts in zip(row["positive_rows"], row["verdicts"], strict=True)
    }
    found: dict[tuple[str, str], list[str]] = {}
    for row in emitted(out):
        found.setdefault((row["query_id"], row["positive_id"]), []).append(row["negative_id"])
    for example, own in kept.items():
        chosen = found.get(example, [])
        assert len(chosen) == len(set(chosen)) == min(3, len(own))
        assert set(chosen) <= own


def test_random_choice_does_not_depend_on_the_other_queries(tmp_path: Path) -> None:
    make_collection(tmp_path)
    whole = emitted(mine(tmp_path, "whole", emit={"choose": "random"}))
    lines = (tmp_path / "qrels.tsv").read_text().splitlines()
    (tmp_path / "qrels.tsv").write_text(
        "\n".join(line for line in lines if not line.startswith(("q3\t", "q7\t"))) + "\n"
    )
    fewer = emitted(mine(tmp_path, "fewer", emit={"choose": "random"}))
    assert fewer == [row for row in whole if row["query_id"] not in ("q3", "q7")]


# --- scores -------------------------------------------------------------------------------------------------------


def test_scores_below_zero(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    documents = draw.normal(size=(80, 8)).astype(np.float32) + np.float32(3)
    queries = -(draw.normal(size=(12, 8)).astype(np.float32) + np.float32(3))
    positives = [[n, n + 20] if n % 2 else [n] for n in range(12)]
    config = by_vectors(
        tmp_path, documents, queries, positives, embed={"similarity": "dot"}, retrieve={"top_k": 79},
        filter={"max_positive_similarity": None},
    )  # fmt: skip
    run(config)
    found = emitted(tmp_path / "out")
    assert found
    assert max(row["positive_score"] for row in found) < 0
    for row in found:
        assert row["negative_score"] <= row["anchor_score"] - 0.05 * abs(row["anchor_score"]) + 1e-4
        expected = float(documents[int(row["negative_id"][1:])] @ queries[int(row["query_id"][1:])])
        assert row["negative_score"] == pytest.approx(expected, rel=1e-5)
    kept = sum(v == "keep" for row in rows(tmp_path / "out/filter") for anchor in row["verdicts"] for v in anchor)
    assert kept == sum(
        float(documents[d] @ queries[n]) <= 1.05 * float(documents[p] @ queries[n])
        for n, own in enumerate(positives)
        for p, d in itertools.product(own, range(80))
        if d not in own
    )


def test_float16_is_stored_and_scores_are_those_of_what_is_stored(tmp_path: Path) -> None:
    make_collection(tmp_path)
    wide, narrow = mine(tmp_path, "wide"), mine(tmp_path, "narrow", embed={"dtype": "float16"})
    kind = pq.read_schema(narrow / "embed/corpus/part-00000.parquet").field("vector").type
    assert kind.value_type == pa.float16()
    documents, queries = vectors(narrow, "corpus"), vectors(narrow, "queries")
    for row in rows(narrow / "retrieve"):
        np.testing.assert_allclose(row["scores"], documents[row["doc_rows"]] @ queries[row["query_row"]], atol=1e-6)
    before = {(row["query_id"], row["negative_id"]): row["negative_score"] for row in emitted(wide)}
    after = {(row["query_id"], row["negative_id"]): row["negative_score"] for row in emitted(narrow)}
    both = before.keys() & after.keys()
    assert len(both) > 0.9 * len(before)
    for pair in both:
        assert after[pair] == pytest.approx(before[pair], abs=2e-3)


def test_vectors_too_large_for_float16_are_refused(tmp_path: Path) -> None:
    documents = np.eye(6, 4, dtype=np.float32) * 1e5 + 1
    config = by_vectors(tmp_path, documents, documents[:2], [[0], [1]], embed={"similarity": "dot", "dtype": "float16"})
    with pytest.raises(InputError, match=r"too large for float16 scores, the first in row 0; set embed\.dtype"):
        run(config)


def test_scores_that_overflow_are_an_error_with_words(tmp_path: Path) -> None:
    documents = np.eye(6, 4, dtype=np.float32) * np.float32(1e30)
    config = by_vectors(tmp_path, documents, documents[:2], [[0], [1]], embed={"similarity": "dot"}, filter=LOOSE)
    with pytest.raises(InputError, match="too large for float32 scores"):
        run(config)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_vectors_that_are_not_finite_are_refused(tmp_path: Path, value: float, similarity: str) -> None:
    documents = np.ones((6, 4), dtype=np.float32)
    documents[3, 2] = value
    config = by_vectors(tmp_path, documents, np.ones((2, 4), np.float32), [[0], [1]], embed={"similarity": similarity})
    with pytest.raises(InputError, match="numbers that are not finite"):
        run(config)


def test_nothing_kept_is_a_result(tmp_path: Path) -> None:
    out = mine(make_collection(tmp_path), filter={"rule": "absolute", "max_score": -5.0})
    assert emitted(out) == []
    found = report(out)
    assert (found["coverage"], found["fill"], found["eci"]) == (0, 0, 0)
    assert found["hardness"] is None
