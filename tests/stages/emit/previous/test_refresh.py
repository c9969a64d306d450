"""Mining again with another checkpoint: what stays of an earlier run's negatives, what is reported, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, IncompleteStage, InputError, StaleOutput
from hnmine.pipeline.run import RunOptions
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.previous.refresh import read_previous
from tests import oracles
from tests.pipeline.helpers import doc_ids, emitted, report, rows, vectors
from tests.support import config_for, make_collection, tree, write_collection

DOCUMENTS, QUERIES, N = 300, 280, 4
COLUMNS = ["query_id", "positive_id", "negative_id", "negative_score", "rank", "source", "rule"]
OLD, NEW = {"model": "hash"}, {"model": "hash", "max_length": 8}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("remining"), DOCUMENTS, QUERIES)
    run(config(folder, "first", embed=OLD, previous=None))
    return folder


def config(base: Path, out: str, previous: dict[str, Any] | None, **tables: Any) -> Config:
    settings: dict[str, Any] = {
        "shard_rows": 256,
        "embed": NEW,
        "retrieve": {"top_k": 12, "max_top_k": 1},  # earlier negatives must be beyond the lists
        "emit": {"num_negatives": N, "extra_columns": COLUMNS},
    }
    if previous is not None:
        settings["previous"] = {"run": "first", **previous}
    for name, value in tables.items():
        settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) and name != "embed" else value
    return config_for(base, out, **settings)


def mine(base: Path, out: str, previous: dict[str, Any] | None, **tables: Any) -> Path:
    run(config(base, out, previous, **tables))
    return base / out


def is_easy(now: float, first: float, ratio: float = 1.15, below: float = 0.8) -> bool:
    return ratio * now < first and now < below


def test_easy_negatives_give_way_to_the_next_candidates_and_the_others_stay(base: Path) -> None:
    """A double loop over the stored tables says which stay and what comes beside them."""
    out = mine(base, "easy", {"replace": "easy"}, retrieve={"top_k": 5})
    documents, queries = vectors(out, "corpus"), vectors(out, "queries")
    before, judged, after = _chosen(base / "first"), rows(out / "filter"), _chosen(out)
    stayed = outside = replaced = 0
    for old, new, again in zip(before, after, _previous(out), strict=True):  # a row an anchor, and an anchor a positive
        query = judged[new["query_row"]]
        verdict = dict(zip(query["doc_rows"], query["verdicts"][new["anchor"]], strict=True))
        # what is no candidate has a verdict of its own, which the next test compares with a candidate's
        known = dict(zip(again["doc_rows"], again["verdicts"], strict=True)) | verdict
        stays, gone = [], []
        for document, first in zip(old["doc_rows"], old["scores"], strict=True):
            now = float(documents[document] @ queries[old["query_row"]])
            (gone if is_easy(now, first) or known[document] != "keep" else stays).append(document)
        mine_now = dict(zip(new["doc_rows"], new["positions"], strict=True))
        fresh = [d for d in query["doc_rows"] if verdict[d] == "keep" and d not in old["doc_rows"]][: N - len(stays)]
        assert set(mine_now) == {*stays, *fresh}
        assert {d for d, place in mine_now.items() if place == -2} == set(stays) - set(verdict)
        assert len(mine_now) == len(new["doc_rows"]) <= N
        assert not set(mine_now) & set(query["positive_rows"])
        assert new["scores"] == sorted(new["scores"], reverse=True)
        for document, score in zip(new["doc_rows"], new["scores"], strict=True):
            assert score == pytest.approx(float(documents[document] @ queries[old["query_row"]]), abs=1e-5)
        stayed, replaced = stayed + len(stays), replaced + len(gone)
        outside += sum(place == -2 for place in mine_now.values())
    assert min(stayed, replaced, outside) > 20
    found = report(out)
    assert found["counts"]["emit"]["negatives_previous"] == found["previous"]["stayed"]
    assert found["sources"]["previous"]["negatives"] == outside
    ids = doc_ids(base / "first")
    for row in emitted(out):
        assert (row["source"] == "previous") == (row["rank"] is None)
        assert row["rule"] == "percent"
        assert row["negative_id"] in ids
    assert any(row["source"] == "previous" for row in emitted(out))


def test_a_document_outside_the_candidates_is_judged_as_if_it_were_one(base: Path) -> None:
    """With a deeper retrieval the same negatives are candidates, and the verdicts are the same."""
    shallow, deep = (mine(base, f"top-{k}", {}, retrieve={"top_k": k}, filter={"easiest": 0.0}) for k in (N, DOCUMENTS))
    one, other = (_previous(out) for out in (shallow, deep))
    compared = 0
    for few, all_of_them in zip(one, other, strict=True):
        assert few["doc_rows"] == all_of_them["doc_rows"]
        for place, here, there in zip(few["positions"], few["verdicts"], all_of_them["verdicts"], strict=True):
            if place == -2 and there != "copy_of_negative":
                assert here == there
                compared += 1
        assert few["scores"] == all_of_them["scores"]
    assert compared > 50
    assert all(place >= 0 for row in other for place in row["positions"])


def _chosen(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_chosen(out / "emit").to_pylist()
    return found


def _previous(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_previous(out / "emit").to_pylist()
    return found


def test_all_chooses_as_without_an_earlier_run_and_reports_the_change(base: Path) -> None:
    plain, again = mine(base, "plain", None), mine(base, "all", {})
    assert emitted(plain) == emitted(again)
    before, after = (_chosen(out) for out in (base / "first", plain))
    pairs = [(set(a["doc_rows"]), set(b["doc_rows"])) for a, b in zip(before, after, strict=True)]
    found = report(again)["previous"]
    assert found["churn"] == pytest.approx(sum(len(a - b) for a, b in pairs) / sum(len(a) for a, _ in pairs))
    assert found["rows_changed"] == pytest.approx(np.mean([a != b for a, b in pairs]))
    assert found["overlap"] == pytest.approx(np.mean([len(a & b) / max(len(a), len(b)) for a, b in pairs if a or b]))
    assert 0 < found["churn"] < 1
    assert found["queries"] == QUERIES
    assert found["then"]["hardness"] == pytest.approx(_hardness(base / "first"), abs=1e-6)
    assert "stayed" not in found
    assert "previous" not in report(plain)


def _hardness(out: Path) -> float:
    judged = rows(out / "filter")
    found = []
    for row in _chosen(out):
        query = judged[row["query_row"]]
        positive, s0 = query["anchor_scores"][row["anchor"]], query["background_mean"]
        found += [oracles.hardness(score, positive, s0) for score in row["scores"]]
    return float(np.mean(found))


def test_the_same_model_keeps_everything(base: Path) -> None:
    out = mine(base, "same", {"replace": "easy"}, embed=OLD)
    found = report(out)["previous"]
    assert (found["churn"], found["rows_changed"], found["overlap"]) == (0.0, 0.0, 1.0)
    assert found["fates"]["easy"] == found["fates"]["rejected"] == 0
    assert found["then"] == pytest.approx(found["now"])
    assert _chosen(out) == _chosen(base / "first")


@pytest.mark.parametrize("cap", [None, 8])
def test_shards_and_a_second_run_change_no_content(base: Path, cap: int | None) -> None:
    # 420 examples of 4 want 1,680 negatives: with a cap of 8 the 300 documents have room for them
    emit = {"max_per_document": cap, "fallback": "random", "choose": "random"}
    outs = [
        mine(base, f"same-{cap}-{number}", {"replace": "easy"}, emit=emit, shard_rows=size)
        for number, size in enumerate((256, 256, 512))
    ]
    assert tree(outs[0]) == tree(outs[1])
    assert emitted(outs[0]) == emitted(outs[2])
    assert report(outs[0]) == report(outs[2])
    for row in _chosen(outs[0]):
        assert len(set(row["doc_rows"])) == len(row["doc_rows"]) == N
    if cap is not None:
        served = np.bincount([d for row in _chosen(outs[0]) for d in row["doc_rows"]])
        assert served.max() <= cap


def test_a_lost_choice_is_made_again_to_the_same_bytes(base: Path) -> None:
    out = mine(base, "lost", {"replace": "easy"})
    whole = tree(out)
    (out / "emit/_manifest.json").unlink()
    shutil.rmtree(out / "emit/chosen")
    (out / "emit/part-00000.parquet").unlink()
    mine(base, "lost", {"replace": "easy"})
    assert tree(out) == whole


def test_the_first_score_counts_over_several_rounds(base: Path) -> None:
    mine(base, "round-2", {"replace": "easy"})
    third = mine(
        base, "round-3", {"run": "round-2", "replace": "easy"}, embed={"model": "hash", "query_prompt": "jade "}
    )
    second = {(row["query_row"], d): (s, first) for row in _previous(base / "round-2") for d, s, first in
              zip(row["doc_rows"], row["stays"], row["first_scores"], strict=True)}  # fmt: skip
    seen = 0
    for row in _previous(third):
        for document, first, before in zip(row["doc_rows"], row["first_scores"], row["previous_scores"], strict=True):
            stayed, at_first = second.get((row["query_row"], document), (False, 0.0))
            assert first == (at_first if stayed else before)
            seen += stayed and at_first != before
    assert seen > 20


def test_ingest_is_reused_and_a_changed_earlier_run_is_noticed(base: Path, tmp_path: Path) -> None:
    make_collection(tmp_path, 60, 20)
    mine(tmp_path, "first", None, embed=OLD)
    out = mine(tmp_path, "again", {})
    assert not (out / "ingest/_manifest.json").exists()
    run(config(tmp_path, "first", None, embed=OLD, emit={"num_negatives": 2}), options=RunOptions(overwrite=True))
    with pytest.raises(StaleOutput, match=r"emit: previous\.key was"):
        mine(tmp_path, "again", {})


def test_other_input_is_matched_by_ids(base: Path, tmp_path: Path) -> None:
    corpus = {f"d{i}": f"amber basalt {i} cobalt" for i in range(12)}
    asked = {"q0": "amber 3", "q1": "cobalt 5"}
    write_collection(tmp_path, corpus, asked, [("q0", "d3", 1), ("q1", "d5", 1)])
    loose = {"filter": {"rule": "none"}}
    mine(tmp_path, "first", None, embed=OLD, **loose)
    lost = _chosen(tmp_path / "first")[1]["doc_rows"][0]
    kept = {name: text for name, text in reversed(corpus.items()) if name != f"d{lost}"}
    write_collection(tmp_path, kept, {"q1": "cobalt 5", "q9": "amber 7"}, [("q1", "d5", 1), ("q9", "d7", 1)])
    found = report(mine(tmp_path, "again", {"replace": "easy", "easy_ratio": 100.0}, embed=OLD, **loose))["previous"]
    assert (found["queries"], found["fates"]["gone"], found["stayed"]) == (1, 1, N - 1)


def test_what_cannot_serve_as_an_earlier_run_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    make_collection(tmp_path, 60, 20)
    with pytest.raises(ConfigError, match="also the output folder of this run"):
        config(tmp_path, "first", {})
    with pytest.raises(InputError, match="no folder"):
        mine(tmp_path, "again", {})
    run(config(tmp_path, "first", None), ["ingest", "embed"])
    with pytest.raises(IncompleteStage, match="complete as far as emit"):
        mine(tmp_path, "again", {})
    assert not (tmp_path / "again/embed").exists()
