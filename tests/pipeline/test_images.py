"""Runs whose documents are images: read from every kind of file, seen by a CLIP model, and emitted as images."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.commands.explain import explain_query
from hnmine.commands.judge.judge import JudgeOptions, export_requests
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.student_options import student_model
from hnmine.config.file import check_config
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, ModelError, StaleOutput
from tests.pipeline.helpers import doc_ids, emitted, table, vectors
from tests.pipeline.tiny import save_tiny_bert
from tests.pipeline.tiny_clip import save_tiny_clip
from tests.support import WORDS, tree, write_jsonl

Image = pytest.importorskip("PIL.Image", reason="images need Pillow")
DOCUMENTS, QUERIES = 40, 12


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (24, 18)) -> bytes:
    """Return an encoded image of blocks of colour."""
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(out, kind)
    return out.getvalue()


def write_images(folder: Path, images: Sequence[Any], **more: Sequence[Any]) -> Path:
    """Write corpus.parquet, queries.jsonl and qrels.tsv; query i has document i, every other one also i + 1."""
    folder.mkdir(exist_ok=True)
    ids = [f"d{i}" for i in range(len(images))]
    pq.write_table(pa.table({"doc_id": ids, "picture": images, **more}), folder / "corpus.parquet")
    asked = ({"query_id": f"q{i}", "text": f"{WORDS[i]} {WORDS[i + 1]} {i}"} for i in range(QUERIES))
    write_jsonl(folder / "queries.jsonl", asked)
    qrels = [f"q{i}\td{i + j}\t1" for i in range(QUERIES) for j in range(1 + i % 2)]
    (folder / "qrels.tsv").write_text("\n".join(["query_id\tdoc_id\trelevance", *qrels]) + "\n")
    return folder


def of_images(folder: Path, out: str = "out", **tables: Any) -> Config:
    raw: dict[str, Any] = {
        "out": out,
        "input": {
            "corpus": "corpus.parquet", "queries": "queries.jsonl", "qrels": "qrels.tsv",
            "columns": {"image": "picture"},
        },
        "embed": {"model": str(folder.parent / "clip"), "device": "cpu", "batch_size": 16},
        "retrieve": {"top_k": 10},
        "filter": {"rule": "percent"},
        "emit": {"num_negatives": 3, "extra_columns": ["query_id", "positive_id", "negative_id", "source"]},
        "report": {"html": False},
    }  # fmt: skip
    for name, value in tables.items():
        raw[name] = {**raw.get(name, {}), **value} if isinstance(value, dict) else value
    return check_config(raw, "test config", folder)


def given_vectors(folder: Path, rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    np.save(folder / "documents.npy", rng.normal(size=(rows, 8)).astype(np.float32))
    np.save(folder / "queries.npy", rng.normal(size=(QUERIES, 8)).astype(np.float32))
    return {
        "model": "precomputed", "corpus_vectors": "documents.npy", "query_vectors": "queries.npy", "device": None,
        "batch_size": 32,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("images")
    save_tiny_clip(base / "clip")
    contents = [picture(i, "JPEG" if i % 2 else "PNG") for i in range(DOCUMENTS)]
    contents[30] = contents[3]  # a copy
    images = [{"bytes": content, "path": None} for content in contents]
    captions = [f"{WORDS[i % 30]} {WORDS[(i + 1) % 30]}" if i % 2 else "" for i in range(DOCUMENTS)]
    return write_images(base / "run", images, text=captions)


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    sources = [{"kind": "dense"}, {"kind": "bm25"}]
    run(of_images(folder, retrieve={"source": sources}, report={"html": True}))
    return folder / "out"


@pytest.mark.model
def test_vectors_are_those_of_the_model_for_the_opened_images(folder: Path, finished: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder.parent / "clip"), device="cpu")
    ids = [int(name[1:]) for name in doc_ids(finished)]
    assert ids == [i for i in range(DOCUMENTS) if i != 30]
    contents = table(finished / "ingest" / "images")["image"].to_pylist()
    assert contents == [picture(i, "JPEG" if i % 2 else "PNG") for i in ids]
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
    expected = model.encode(images, normalize_embeddings=True)
    np.testing.assert_allclose(vectors(finished, "corpus"), expected, atol=1e-5)
    texts = [f"{WORDS[i]} {WORDS[i + 1]} {i}" for i in range(QUERIES)]
    np.testing.assert_allclose(vectors(finished, "queries"), model.encode(texts, normalize_embeddings=True), atol=1e-5)


@pytest.mark.model
def test_rows_hold_images_that_datasets_opens(finished: Path) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("parquet", data_files=str(finished / "emit" / "part-*.parquet"), split="train")
    assert len(loaded) == len(emitted(finished)) > 10
    for row in loaded.select(range(5)):
        assert isinstance(row["anchor"], str)
        for side in ("positive", "negative"):
            number = int(row[f"{side}_id"][1:])
            wanted = Image.open(io.BytesIO(picture(number, "JPEG" if number % 2 else "PNG")))
            assert row[side].size == (24, 18)
            np.testing.assert_array_equal(np.asarray(row[side].convert("RGB")), np.asarray(wanted.convert("RGB")))


@pytest.mark.model
def test_people_read_the_size_and_the_caption_and_words_are_those_of_the_caption(folder: Path, finished: Path) -> None:
    corpus = table(finished / "ingest" / "corpus").to_pylist()
    assert corpus[0]["text"] == "[image 24x18]"
    assert corpus[1]["text"] == f"[image 24x18] {WORDS[1]} {WORDS[2]}"
    assert [len(row["terms"]) for row in corpus[:4]] == [0, 2, 0, 2]
    assert len({row["text_key"] for row in corpus}) == len(corpus)
    words = pq.read_table(finished / "index" / "bm25" / "bm25.parquet").column("word").to_pylist()
    assert not {"image", "24x18"} & set(words)
    page = (finished / "report" / "report.html").read_text()
    assert "trains on texts alone" in page
    assert "[image 24x18]" in page
    uris = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(uris) > 10
    assert Image.open(io.BytesIO(base64.b64decode(uris[0]))).size == (24, 18)
    said = explain_query(of_images(folder, retrieve={"source": [{"kind": "dense"}, {"kind": "bm25"}]}), "q1")
    assert said["positives"][0]["text"].startswith("[image 24x18]")


@pytest.mark.model
def test_other_shards_and_a_second_start_give_the_same_vectors(folder: Path, finished: Path) -> None:
    again = of_images(folder, "again", shard_rows=256, embed={"batch_size": 16})
    run(again, ["ingest", "embed"])
    for name, content in tree(finished / "embed").items():
        if name.startswith(("corpus/", "queries/")):
            assert (folder / "again" / "embed" / name).read_bytes() == content
    assert not any(result.ran for result in run(again, ["ingest", "embed"]))


@pytest.mark.model
def test_a_model_of_texts_is_refused(folder: Path) -> None:
    save_tiny_bert(folder.parent / "bert")
    with pytest.raises(ModelError, match=r"embed\.model .*takes no images"):
        run(of_images(folder, "refused", embed={"model": str(folder.parent / "bert")}), ["ingest", "embed"])


def test_paths_and_bytes_give_the_same_corpus_and_copies_are_found_by_content(tmp_path: Path) -> None:
    contents = [picture(i) for i in range(14)]
    inside = write_images(tmp_path / "inside", contents)
    (tmp_path / "beside" / "files").mkdir(parents=True)
    for number, content in enumerate(contents):
        (tmp_path / "beside" / "files" / f"{number}.png").write_bytes(content)
    beside = write_images(tmp_path / "beside", [f"files/{i}.png" for i in range(14)])
    (beside / "corpus.parquet").unlink()
    write_jsonl(
        beside / "corpus.jsonl",
        [{"doc_id": f"d{i}", "picture": f"files/{i}.png"} for i in range(13)]
        + [{"doc_id": "d13", "picture": {"bytes": None, "path": str(beside / "files" / "13.png")}}]
        + [{"doc_id": "copy", "picture": "files/3.png"}, {"doc_id": "none", "picture": None}],
    )
    run(of_images(inside), ["ingest"])
    (result,) = run(of_images(beside, input={"corpus": "corpus.jsonl"}), ["ingest"])
    assert result.counts["collapsed_copies"] == 1
    assert pq.read_table(beside / "out" / "ingest" / "left_out.parquet").to_pylist() == [
        {"kind": "document", "id": "none", "reason": "neither image nor text"}
    ]
    for name in ("corpus", "images"):
        assert table(inside / "out" / "ingest" / name).equals(table(beside / "out" / "ingest" / name))


@pytest.mark.parametrize("name", ["n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list"])
def test_each_shape_of_rows_holds_images(tmp_path: Path, name: str) -> None:
    folder = write_images(tmp_path / "run", [picture(i) for i in range(20)])
    run(of_images(folder, embed=given_vectors(folder, 20), emit={"format": name, "extra_columns": []}))
    (row, *_) = emitted(folder / "out")
    found = {"n-tuple": "negative_3", "n-tuple-scores": "negative_3", "labeled-pair": "document"}.get(name, "documents")
    first = row[found][0] if name == "labeled-list" else row[found]
    assert Image.open(io.BytesIO(first["bytes"])).size == (24, 18)
    datasets = pytest.importorskip("datasets")
    features = datasets.Features.from_arrow_schema(pq.read_schema(next((folder / "out" / "emit").glob("part-*"))))
    assert "Image" in repr(features[found])


def some_texts(folder: Path, **more: Any) -> tuple[Path, list[str]]:
    """Write a collection in which every third document is a text; return its folder and the documents' texts."""
    images = [None if i % 3 == 2 else {"bytes": picture(i), "path": None} for i in range(20)]
    texts = [f"{WORDS[i]} {WORDS[i + 1]} {i}" if i % 3 == 2 else "" for i in range(20)]
    return write_images(folder, images, text=texts), texts


@pytest.mark.parametrize("name", ["triplet", "n-tuple", "labeled-list"])
def test_documents_may_be_texts_or_images(tmp_path: Path, name: str) -> None:
    datasets = pytest.importorskip("datasets")
    folder, texts = some_texts(tmp_path / "run")
    more = {"format": name, "extra_columns": ["positive_id", "negative_id"]}
    results = run(of_images(folder, embed=given_vectors(folder, 20), emit=more, report={"html": name == "triplet"}))
    assert results[0].counts["images"] == 14
    assert (results[0].counts["documents"], results[0].counts["empty_documents"]) == (20, 0)
    loaded = datasets.load_dataset("parquet", data_files=str(folder / "out" / "emit" / "part-*.parquet"), split="train")
    seen = set()
    for row in loaded:
        ids = row["negative_id"] if isinstance(row["negative_id"], list) else [row["negative_id"]]
        own = [row["positive_id"], *ids]
        if name == "labeled-list":
            pairs = list(zip(row["documents"], row["document_images"], strict=True))
        else:
            sides = ["positive", *(["negative"] if name == "triplet" else [f"negative_{i}" for i in (1, 2, 3)])]
            pairs = [(row[side], row[f"{side}_image"]) for side in sides]
        for id_, (text, image) in zip(own, pairs, strict=True):
            number = int(id_[1:])
            seen.add(number % 3 == 2)
            assert text == (texts[number] if number % 3 == 2 else None)
            wanted = None if number % 3 == 2 else np.asarray(Image.open(io.BytesIO(picture(number))))
            np.testing.assert_array_equal(None if image is None else np.asarray(image), wanted)
    assert seen == {True, False}


@pytest.mark.model
def test_a_model_sees_texts_and_images_of_one_corpus(tmp_path: Path, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    mixed, texts = some_texts(tmp_path / "run")
    clip = str(folder.parent / "clip")
    run(of_images(mixed, embed={"model": clip, "document_prompt": "amber "}), ["ingest", "embed"])
    model = SentenceTransformer(clip, device="cpu")
    for number, found in enumerate(vectors(mixed / "out", "corpus")):
        image = Image.open(io.BytesIO(picture(number))).convert("RGB")
        expected = model.encode([f"amber {texts[number]}"] if texts[number] else [image], normalize_embeddings=True)[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.model
@pytest.mark.parametrize("with_texts", [False, True])
def test_queries_may_be_images(tmp_path: Path, folder: Path, with_texts: bool) -> None:
    from sentence_transformers import SentenceTransformer

    datasets = pytest.importorskip("datasets")
    asked = write_images(tmp_path / "run", [picture(i) for i in range(20)])
    (asked / "queries.jsonl").unlink()
    ids = [f"q{i}" for i in range(QUERIES)]
    images = [None if with_texts and i % 4 == 3 else picture(100 + i % 11) for i in range(QUERIES)]  # q11 repeats q0
    texts = [f"{WORDS[i]} {i}" if image is None else None for i, image in enumerate(images)]
    pq.write_table(pa.table({"query_id": ids, "photo": images, "text": texts}), asked / "queries.parquet")
    given = {"queries": "queries.parquet", "columns": {"image": "picture", "query_image": "photo"}}
    sources = [{"kind": "dense"}, {"kind": "bm25"}]
    clip = str(folder.parent / "clip")
    anything = {
        "rule": "none",
        "max_query_similarity": 1.0,
        "max_positive_similarity": 1.0,
    }  # random weights: all alike
    embed = {"model": clip, "query_prompt": "opal "}
    config = of_images(asked, input=given, retrieve={"source": sources}, embed=embed, filter=anything)
    run(config)
    model = SentenceTransformer(clip, device="cpu")
    stored = vectors(asked / "out", "queries")
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        content = [f"opal {text}"] if image is None else [Image.open(io.BytesIO(image)).convert("RGB")]
        np.testing.assert_allclose(stored[number], model.encode(content, normalize_embeddings=True)[0], atol=1e-5)
    queries = table(asked / "out" / "ingest" / "queries").to_pylist()
    if not with_texts:  # the same image is the same query to the checks
        assert queries[0]["sibling_rows"] == [11, 12]
    loaded = datasets.load_dataset("parquet", data_files=str(asked / "out" / "emit" / "part-*.parquet"), split="train")
    assert len(loaded) > 5
    for row in loaded:
        number = int(row["query_id"][1:])
        image = row["anchor_image"] if with_texts else row["anchor"]
        assert not with_texts or row["anchor"] == texts[number]
        if images[number] is not None:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(images[number]))))
    pq.write_table(
        pa.table({"query_id": ids, "photo": images[1:] + images[:1], "text": texts}), asked / "queries.parquet"
    )
    with pytest.raises(StaleOutput):
        run(config)


def test_damaged_and_missing_images_are_all_named_with_their_rows(tmp_path: Path) -> None:
    images: list[Any] = [{"bytes": picture(i, "JPEG", (640, 480)), "path": None} for i in range(14)]
    images[2] = {"bytes": images[2]["bytes"][:-300], "path": None}
    images[5] = {"bytes": b"no image", "path": None}
    images[7] = {"bytes": None, "path": "nowhere.png"}
    images[8] = {"bytes": None, "path": "https://example.org/1.png"}
    folder = write_images(tmp_path / "run", images)
    with pytest.raises(InputError) as raised:
        run(of_images(folder, embed=given_vectors(folder, 14)), ["ingest"])
    lines = str(raised.value).splitlines()
    told = {3: "damaged", 6: "damaged", 8: "nowhere.png: cannot", 9: "not fetched"}
    for line, (row, part) in zip(lines[: len(told)], told.items(), strict=True):
        assert f"corpus.parquet row {row}: column 'picture': " in line
        assert part in line
    assert not list((folder / "out" / "ingest").glob("**/part-*"))


@pytest.mark.model
def test_commands_on_texts_refuse_a_run_of_images(folder: Path, finished: Path) -> None:
    sources, judge = [{"kind": "dense"}, {"kind": "bm25"}], {"model": "http://localhost:1/v1", "served_model": "any"}
    config = of_images(folder, retrieve={"source": sources}, report={"html": True}, judge=judge)
    with pytest.raises(ModelError, match="students are trained on texts"):
        student_model(config, "static", None)
    with pytest.raises(ConfigError, match="judge: a language model is asked about texts"):
        export_requests(config, folder / "requests.jsonl", JudgeOptions())
    assert any("images are copied" in one for one in make_plan(config)["warnings"])


def test_what_images_cannot_do_is_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "run", [picture(i) for i in range(14)])
    with pytest.raises(ConfigError) as raised:
        of_images(
            folder, embed={"model": "hash"}, guide={"command": ["encode"]}, rescore={"model": "hash"},
            emit={"format": ["bge", "triplet"]},
        )  # fmt: skip
    text = str(raised.value)
    for part in ("embed.model: 'hash' takes no images", "guide.model: 'command encode'", "rescore: ", "'bge' holds no"):
        assert part in text
    with pytest.raises(
        InputError, match=r"column 'photo' \(input.columns.image\) is not there; it has: doc_id, picture"
    ):
        run(of_images(folder, embed=given_vectors(folder, 14), input={"columns": {"image": "photo"}}), ["ingest"])
