"""What sentence-transformers' own miner writes, in each of its formats, is read as what it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine.commands.audit.audit import Request, audit
from tests.pipeline.tiny import save_tiny_bert
from tests.support import make_collection

pytest.importorskip("sentence_transformers")
datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.model

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
NEGATIVES = 3
QUERIES = 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited") / "model"
    save_tiny_bert(folder)
    return folder


@pytest.fixture(scope="module")
def mine(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that mines a made-up collection's (query, answer) pairs, one positive a query."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    folder = make_collection(tmp_path_factory.mktemp("pairs"), 60, QUERIES)
    corpus = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text().splitlines()]
    model = SentenceTransformer(str(tiny), device="cpu")
    pairs = {"query": asked, "answer": corpus[: len(asked)]}

    def run(name: str, scores: bool) -> Any:
        made = mine_hard_negatives(
            datasets.Dataset.from_dict(pairs), model, corpus=corpus, num_negatives=NEGATIVES, output_format=name,
            output_scores=scores, verbose=False,
        )  # fmt: skip
        return made, pairs, model

    return run


def write(rows: Any, path: Path, ending: str) -> Path:
    path = path.with_suffix(f".{ending}")
    {"parquet": rows.to_parquet, "jsonl": rows.to_json, "csv": rows.to_csv}[ending](str(path))
    return path


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognised_and_read_whole(
    mine: Any, tmp_path: Path, name: str, scores: bool, ending: str
) -> None:
    rows, pairs, _ = mine(name, scores)
    report = audit(Request((str(write(rows, tmp_path / "mined", ending)),)))
    assert report["shape"] == name
    assert "anchor = 'query'" in report["columns"]
    counts = report["counts"]
    assert counts["rows"] == len(rows)
    assert counts["queries"] == counts["examples"] == counts["positives"] == len(pairs["query"])
    assert counts["negatives"] == QUERIES * NEGATIVES
    for fault in ("positive_as_negative", "duplicate_row", "without_positive", "repeated_negative", "empty_text"):
        assert report["findings"][fault]["count"] == 0
    assert bool(report["file_scores"]) == scores
    assert report["coverage"] == 1.0


@pytest.mark.parametrize("name", FORMATS)
def test_its_scores_are_those_of_its_model(mine: Any, tiny: Path, tmp_path: Path, name: str) -> None:
    rows, pairs, model = mine(name, True)
    report = audit(Request((str(write(rows, tmp_path / "mined", "parquet")),), model=str(tiny)))
    asked, answers = (model.encode(pairs[side], normalize_embeddings=True) for side in ("query", "answer"))
    expected = float(np.einsum("nd,nd->n", asked, answers).mean())
    for scores in (report["file_scores"], report["distributions"]):
        assert scores["positive_score"]["mean"] == pytest.approx(expected, abs=1e-4)
        assert scores["negative_score"]["count"] == QUERIES * NEGATIVES
    assert report["file_scores"]["negative_score"]["mean"] == pytest.approx(
        report["distributions"]["negative_score"]["mean"], abs=1e-4
    )
    contradicting = report["findings"]["scores_contradict_model"]
    assert (contradicting["count"], contradicting["limit"]) == (0, 0)
    # without a margin it mines what scores above the positive: the file and the model must agree on which
    above = report["findings"]["negatives_at_or_above_positive"]["count"]
    assert above == report["findings"]["model_at_or_above_positive"]["count"] > 0
