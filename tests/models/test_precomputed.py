"""Vectors that the user brings: matched to the right rows, or refused before anything is written."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.errors import InputError
from tests.readers.helpers import CORPUS, ONLY_PAIRS, QRELS, QUERIES, rows, small
from tests.support import config_for, write_collection, write_jsonl

IDS, ASKED = list(CORPUS), list(QUERIES)
RNG = np.random.default_rng(7)
DOCS = RNG.normal(size=(3, 4)).astype(np.float32)
ASKS = RNG.normal(size=(2, 4)).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def save(file: Path, vectors: Any, ids: list[Any] | None = None, names: tuple[str, str] = ("doc_id", "vector")) -> None:
    if file.suffix == ".npy":
        np.save(file, vectors)
    else:
        listed = vectors if isinstance(vectors, pa.Array) else [None if v is None else list(v) for v in vectors]
        pq.write_table(pa.table(dict(zip(names, (ids, listed), strict=True))), file)


def config(folder: Path, corpus: Any = "c.npy", queries: Any = "q.npy", out: str = "out", **tables: Any) -> Any:
    embed = {"model": "precomputed", "corpus_vectors": corpus, "query_vectors": queries, **tables.pop("embed", {})}
    return config_for(folder, out, embed=embed, **tables)


def embedded(folder: Path, *args: Any, **tables: Any) -> tuple[np.ndarray, np.ndarray]:
    made = config(folder, *args, **tables)
    run(made, stages=("ingest", "embed"))
    stage = made.out_folder / "embed"
    corpus, queries = (np.array([row["vector"] for row in rows(stage / side)]) for side in ("corpus", "queries"))
    return corpus, queries


def refused(folder: Path, *args: Any, **tables: Any) -> str:
    made = config(folder, *args, **tables)
    with pytest.raises(InputError) as caught:
        run(made, stages=("ingest", "embed"))
    assert [p.name for p in (made.out_folder / "embed").rglob("*") if p.is_file()] in ([], ["_started.json"])
    return str(caught.value)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    small(tmp_path)
    save(tmp_path / "c.npy", DOCS)
    save(tmp_path / "q.npy", ASKS)
    return tmp_path


def test_npy_in_input_order(base: Path) -> None:
    corpus, queries = embedded(base)
    np.testing.assert_allclose(corpus, unit(DOCS), rtol=1e-6)
    np.testing.assert_allclose(queries, unit(ASKS), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dot_leaves_vectors_as_they_are(base: Path, dtype: Any) -> None:
    save(base / "c.npy", DOCS.astype(dtype))
    corpus, _ = embedded(base, embed={"similarity": "dot"})
    np.testing.assert_array_equal(corpus, DOCS.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_parquet_in_another_order_than_the_corpus(base: Path, order: list[int]) -> None:
    save(base / "c.parquet", [*DOCS[order], [9, 9, 9, 9]], [*(IDS[n] for n in order), "not in the corpus"])
    save(base / "q.parquet", ASKS[::-1], ASKED[::-1], ("qid", "embedding"))
    corpus, queries = embedded(base, "c.parquet", "q.parquet")
    np.testing.assert_allclose(corpus, unit(DOCS), rtol=1e-6)
    np.testing.assert_allclose(queries, unit(ASKS), rtol=1e-6)


def test_parquet_in_several_files_and_arrow_types(base: Path) -> None:
    (base / "v").mkdir()
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(DOCS[2].astype(np.float16)), 4)
    save(base / "v" / "a.parquet", fixed, [IDS[2]])
    large = pa.array(DOCS[:2].astype(np.float64).tolist(), pa.large_list(pa.float64()))
    save(base / "v" / "b.parquet", large, IDS[:2])
    corpus, _ = embedded(base, "v")
    np.testing.assert_allclose(corpus, unit(DOCS), rtol=2e-3)


def test_ids_that_are_numbers_match_ids_that_are_strings(tmp_path: Path) -> None:
    write_collection(tmp_path, {"7": "a", "8": "b"}, QUERIES, [("q0", "7", 1), ("q1", "8", 1)])
    save(tmp_path / "c.parquet", DOCS[:2], [8, 7])
    save(tmp_path / "q.npy", ASKS)
    corpus, _ = embedded(tmp_path, "c.parquet")
    np.testing.assert_allclose(corpus, unit(DOCS[[1, 0]]), rtol=1e-6)


def test_the_id_column_may_be_mapped(base: Path) -> None:
    save(base / "c.parquet", DOCS, IDS, ("key", "vector"))
    corpus, _ = embedded(base, "c.parquet", input={"columns": {"doc_id": "key"}})
    np.testing.assert_allclose(corpus, unit(DOCS), rtol=1e-6)


def test_npy_counts_copies_and_empty_texts_that_were_left_out(tmp_path: Path) -> None:
    corpus = {"d0": "amber reef", "empty": "", "copy": "amber  reef", "d1": "basalt", "d2": "cobalt"}
    queries = {"none": "no positive", **QUERIES}
    write_collection(tmp_path, corpus, queries, QRELS)
    docs, asks = RNG.normal(size=(5, 4)).astype(np.float32), RNG.normal(size=(3, 4)).astype(np.float32)
    docs[1], asks[0] = np.nan, 0  # nobody reads these
    save(tmp_path / "c.npy", docs)
    save(tmp_path / "q.npy", asks)
    found, asked = embedded(tmp_path)
    np.testing.assert_allclose(found, unit(docs[[0, 3, 4]]), rtol=1e-6)
    np.testing.assert_allclose(asked, unit(asks[1:]), rtol=1e-6)


def test_npy_in_several_files(base: Path) -> None:
    save(base / "c1.npy", DOCS[:2])
    save(base / "c2.npy", DOCS[2:])
    corpus, _ = embedded(base, ["c1.npy", "c2.npy"])
    np.testing.assert_allclose(corpus, unit(DOCS), rtol=1e-6)


def test_npy_for_pairs(tmp_path: Path) -> None:
    pairs = [{"anchor": "a", "positive": ["x", "y"]}, {"anchor": "b", "positive": "x"}]
    write_jsonl(tmp_path / "p.jsonl", pairs)
    save(tmp_path / "c.npy", DOCS[:2])
    save(tmp_path / "q.npy", ASKS)
    corpus, queries = embedded(tmp_path, input={**ONLY_PAIRS, "pairs": "p.jsonl"})
    np.testing.assert_allclose(corpus, unit(DOCS[:2]), rtol=1e-6)
    np.testing.assert_allclose(queries, unit(ASKS), rtol=1e-6)


def changed(row: int, value: Any) -> np.ndarray:
    vectors = DOCS.copy()
    vectors[row] = value
    return vectors


def save_npz(file: Path) -> None:
    np.savez(file.with_suffix(".npz"), DOCS)
    file.with_suffix(".npz").rename(file)


def save_most(file: Path) -> None:
    save(file, DOCS)
    file.write_bytes(file.read_bytes()[:-4])


WRONG: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a missing vector": (
        "c.parquet",
        lambda f: save(f, DOCS[:1], IDS[:1]),
        "c.parquet: no vector for 2 of 3 doc_ids ('d1', 'd2')",
    ),
    "a null id": (
        "c.parquet",
        lambda f: save(f, DOCS, [*IDS[:2], None]),
        "c.parquet: no vector for 1 of 3 doc_ids ('d2')",
    ),
    "an id twice": (
        "c.parquet",
        lambda f: save(f, [*DOCS, DOCS[0]], [*IDS, "d0"]),
        "c.parquet: 1 ids occur more than once ('d0')",
    ),
    "ids of a strange type": (
        "c.parquet",
        lambda f: save(f, DOCS, [[n] for n in IDS]),
        "c.parquet column doc_id: cannot be read as ids: ",
    ),
    "ragged vectors": (
        "c.parquet",
        lambda f: save(f, [DOCS[0], DOCS[1], DOCS[2][:3]], IDS),
        "c.parquet column vector: vectors differ in length: 4, 3",
    ),
    "a null vector": (
        "c.parquet",
        lambda f: save(f, [DOCS[0], None, DOCS[2]], IDS),
        "c.parquet column vector: vectors differ in length: 4, null",
    ),
    "a null in a vector": (
        "c.parquet",
        lambda f: save(f, [DOCS[0], DOCS[1], [1.0, None, 2.0, 3.0]], IDS),
        "c.parquet column vector: holds nulls or double where numbers are needed",
    ),
    "vectors of nothing": (
        "c.parquet",
        lambda f: save(f, [[], [], []], IDS),
        "c.parquet column vector: its vectors are",
    ),
    "no vectors": (
        "c.parquet",
        lambda f: save(f, pa.array([], pa.list_(pa.float32())), pa.array([], pa.string())),
        "c.parquet column vector: holds no vectors",
    ),
    "words": ("c.parquet", lambda f: save(f, [["a"]] * 3, IDS), "c.parquet column vector: holds nulls or string where"),
    "no lists": (
        "c.parquet",
        lambda f: save(f, pa.array([1.0, 2, 3]), IDS),
        "c.parquet column vector: holds double, not",
    ),
    "no id column": (
        "c.parquet",
        lambda f: save(f, DOCS, IDS, ("name", "vector")),
        "c.parquet: an id column is missing; it has: name, vector",
    ),
    "no vector column": (
        "c.parquet",
        lambda f: save(f, DOCS, IDS, ("doc_id", "v")),
        "c.parquet: a vector column (vector, embedding, embeddings, vectors, emb) is missing; it has: doc_id, v",
    ),
    "truncated Parquet": (
        "c.parquet",
        lambda f: f.write_bytes(b"PAR1abc") and None,
        "c.parquet: not a readable Parquet file (truncated?): ",
    ),
    "not a number": (
        "c.npy",
        lambda f: save(f, changed(1, [1, np.nan, 0, 0])),
        "c.npy: 1 vectors hold numbers that are not finite (doc_id 'd1')",
    ),
    "infinity": (
        "c.npy",
        lambda f: save(f, changed(2, np.inf)),
        "c.npy: 1 vectors hold numbers that are not finite (doc_id 'd2')",
    ),
    "beyond float32": (
        "c.npy",
        lambda f: save(f, DOCS.astype(np.float64) * 1e60),
        "c.npy: 3 vectors hold numbers that are not finite (doc_id 'd0', 'd1', 'd2')",
    ),
    "too long to normalise": (
        "c.npy",
        lambda f: save(f, changed(0, 1e30)),
        "c.npy: 1 vectors are too long for float32 (doc_id 'd0')",
    ),
    "zeros": ("c.npy", lambda f: save(f, changed(2, 0)), "c.npy: 1 vectors are all zeros (doc_id 'd2')"),
    "several kinds at once": (
        "c.npy",
        lambda f: save(f, np.stack([DOCS[0] * 0, DOCS[1] * np.nan, DOCS[2]])),
        "c.npy: 1 vectors hold numbers that are not finite (doc_id 'd1')\nc.npy: 1 vectors are all zeros (doc_id 'd0')",
    ),
    "another dimension than the queries": (
        "c.npy",
        lambda f: save(f, DOCS[:, :3]),
        "c.npy: vectors of 3 numbers, but q.npy has vectors of 4",
    ),
    "too few": ("c.npy", lambda f: save(f, DOCS[:2]), "c.npy: 2 vectors for 3 corpus rows read from the input"),
    "too many": ("c.npy", lambda f: save(f, DOCS[[0, 1, 2, 0]]), "c.npy: 4 vectors for 3 corpus rows read"),
    "one dimension": (
        "c.npy",
        lambda f: save(f, DOCS[0]),
        "c.npy: a float array of two dimensions is needed, not float32",
    ),
    "whole numbers": (
        "c.npy",
        lambda f: save(f, DOCS.astype(int)),
        "c.npy: a float array of two dimensions is needed, ",
    ),
    "pickled objects": (
        "c.npy",
        lambda f: np.save(f, np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True),
        "c.npy: a float array of two dimensions is needed, not object (3,)",
    ),
    "a pickle": ("c.npy", lambda f: f.write_bytes(pickle.dumps(DOCS)) and None, "c.npy: not a readable .npy file: "),
    "an .npz": (
        "c.npy",
        save_npz,
        "c.npy: not a readable .npy file: the magic string",
    ),
    "truncated .npy": (
        "c.npy",
        save_most,
        "c.npy: not a readable .npy file: it ends before its row 3 of 3",
    ),
    "an empty .npy": ("c.npy", lambda f: f.write_bytes(b"") and None, "c.npy: not a readable .npy file: "),
}


@pytest.mark.parametrize(("name", "write", "message"), WRONG.values(), ids=WRONG)
def test_wrong_vectors(base: Path, name: str, write: Callable[[Path], None], message: str) -> None:
    write(base / name)
    assert refused(base, name).startswith(message)
    (base / name).unlink()
    save(base / "c.npy", DOCS)
    corpus, _ = embedded(base)
    np.testing.assert_allclose(corpus, unit(DOCS), rtol=1e-6, err_msg="the corrected input runs without --overwrite")


def test_wrong_query_vectors_are_found_before_the_corpus_is_written(base: Path) -> None:
    save(base / "q.npy", ASKS * np.nan)
    assert refused(base) == "q.npy: 2 vectors hold numbers that are not finite (query_id 'q0', 'q1')"
    save(base / "q.npy", ASKS)
    assert len(embedded(base)[0]) == 3


def test_zero_vectors_are_fine_for_dot_products(base: Path) -> None:
    save(base / "c.npy", changed(1, 0))
    corpus, _ = embedded(base, embed={"similarity": "dot"})
    np.testing.assert_array_equal(corpus[1], np.zeros(4))


def test_files_that_do_not_go_together(base: Path) -> None:
    save(base / "wide.npy", np.ones((1, 5), np.float32))
    save(base / "c.parquet", DOCS, IDS)
    assert refused(base, ["c.npy", "wide.npy"]) == "c.npy, wide.npy: vector files differ in dimension: 4, 5"
    assert refused(base, ["c.npy", "c.parquet"], out="mixed") == (
        "c.npy, c.parquet: give either Parquet with ids or .npy in input order, not both"
    )


def test_files_that_are_not_there(base: Path) -> None:
    assert refused(base, "no.npy").splitlines() == ["embed.corpus_vectors: no.npy: no such file"]


def test_bad_vectors_of_all_shards_are_counted(tmp_path: Path) -> None:
    corpus = {f"d{n}": f"text {n}" for n in range(600)}
    write_collection(tmp_path, corpus, QUERIES, QRELS)
    vectors = RNG.normal(size=(600, 4)).astype(np.float32)
    vectors[[5, 300, 301, 599]] = np.nan
    save(tmp_path / "c.npy", vectors)
    save(tmp_path / "q.npy", ASKS)
    message = refused(tmp_path, shard_rows=256)
    assert message == "c.npy: 4 vectors hold numbers that are not finite (doc_id 'd5', 'd300', 'd301' and 1 more)"


def many(folder: Path) -> np.ndarray:
    """Write a collection of 600 documents with vectors in Parquet, in the order of the corpus; return these."""
    write_collection(folder, {f"d{n}": f"text {n}" for n in range(600)}, QUERIES, QRELS)
    vectors = RNG.normal(size=(600, 4)).astype(np.float32)
    save(folder / "c.parquet", vectors, [f"d{n}" for n in range(600)])
    save(folder / "q.npy", ASKS)
    return vectors


def test_nothing_is_kept_of_vectors_whose_last_shard_is_refused(tmp_path: Path) -> None:
    vectors = many(tmp_path)
    wrong = vectors.copy()
    wrong[[599, 580]] = 0
    save(tmp_path / "c.parquet", wrong, [f"d{n}" for n in range(600)])
    for more in ({}, {"workers": 2}):
        message = refused(tmp_path, "c.parquet", shard_rows=256, out=f"out {len(more)}", **more)
        assert message == "c.parquet: 2 vectors are all zeros (doc_id 'd580', 'd599')"
        save(tmp_path / "c.parquet", vectors, [f"d{n}" for n in range(600)])
        corpus, _ = embedded(tmp_path, "c.parquet", shard_rows=256, out=f"out {len(more)}", **more)
        np.testing.assert_allclose(corpus, unit(vectors), rtol=1e-6)
        save(tmp_path / "c.parquet", wrong, [f"d{n}" for n in range(600)])


def shard_bytes(made: Any) -> dict[str, bytes]:
    return {str(p.relative_to(made.out_folder)): p.read_bytes() for p in made.out_folder.glob("embed/*/part-*")}


@pytest.mark.parametrize("removed", [[0], [1], [0, 2], [1, 2]])
def test_missing_shards_are_made_again_as_they_were(tmp_path: Path, removed: list[int]) -> None:
    many(tmp_path)
    made = config(tmp_path, "c.parquet", shard_rows=256)
    run(made, stages=("ingest", "embed"))
    before = shard_bytes(made)
    assert len(before) == 4
    for number in removed:
        (made.out_folder / "embed" / "corpus" / f"part-{number:05d}.parquet").unlink()
    (made.out_folder / "embed" / "_manifest.json").unlink()
    run(made, stages=("embed",))
    assert shard_bytes(made) == before


@pytest.mark.parametrize("order", ["the corpus'", "another"])
def test_workers_and_the_order_of_a_file_change_no_byte(tmp_path: Path, order: str) -> None:
    vectors, ids = many(tmp_path), np.arange(600)
    made = config(tmp_path, "c.parquet", shard_rows=256)
    run(made, stages=("ingest", "embed"))
    if order == "another":
        ids = RNG.permutation(600)
        save(tmp_path / "c.parquet", vectors[ids], [f"d{n}" for n in ids])
    other = config(tmp_path, "c.parquet", out="other", shard_rows=256, workers=2)
    run(other, stages=("ingest", "embed"))
    (one, found) = (np.concatenate([rows_of(c, n) for n in range(3)]) for c in (made, other))
    np.testing.assert_array_equal(found, one)


def rows_of(made: Any, number: int) -> np.ndarray:
    return np.array(
        pq.read_table(made.out_folder / f"embed/corpus/part-{number:05d}.parquet").column("vector").to_pylist()
    )


def test_a_file_that_ends_too_early_is_refused_where_its_last_vectors_are_nobodys(tmp_path: Path) -> None:
    vectors = many(tmp_path)
    listed = [*vectors.tolist(), *[[0.0] * 4] * 5000, [1.0] * 3]
    save(tmp_path / "c.parquet", listed, [f"d{n}" for n in range(5601)])
    message = refused(tmp_path, "c.parquet")
    assert message == "c.parquet column vector: vectors differ in length: 4, 3"
