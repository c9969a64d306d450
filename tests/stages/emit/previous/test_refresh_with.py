"""Mining again beside all else that chooses: conditions, batches, ensembles, rescoring, guides, workers, kills."""

import json
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine import run
from hnmine.commands.compare.compare import compare
from hnmine.commands.explain import explain_query
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError
from hnmine.pipeline.keys import expected_keys
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.emit.previous.refresh import read_previous
from tests import oracles
from tests.pipeline.forkserver import fork_server
from tests.pipeline.helpers import doc_ids, emitted, report, rows
from tests.pipeline.test_resume import kill_at
from tests.support import ROOT, config_for, make_collection, tree, write_jsonl

DOCUMENTS, QUERIES, N = 300, 120, 4
OLD, NEW = {"model": "hash"}, {"model": "hash", "max_length": 8}
COLUMNS = ["query_id", "positive_id", "negative_id", "negative_score", "rank", "source", "rule"]
LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}
SOURCES = [{"kind": "dense", "top_k": 5}, {"kind": "bm25", "top_k": 5}]


def raw(out: str, **tables: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "shard_rows": 256,
        "embed": NEW,
        "retrieve": {"top_k": 6},
        "emit": {"num_negatives": N, "extra_columns": COLUMNS},
    }
    for name, value in tables.items():
        found[name] = {**found.get(name, {}), **value} if isinstance(value, dict) and name != "embed" else value
    return found


def config(base: Path, out: str, **tables: Any) -> Config:
    return config_for(base, out, **raw(out, **tables))


def mine(base: Path, out: str, **tables: Any) -> Path:
    run(config(base, out, **tables))
    return base / out


def again(base: Path, out: str, **tables: Any) -> Path:
    return mine(base, out, **{"previous": {"run": "first", "replace": "easy"}, **tables})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_collection(tmp_path_factory.mktemp("with"), DOCUMENTS, QUERIES)
    for side in ("corpus", "queries"):
        lines = [json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines()]
        write_jsonl(folder / f"{side}.jsonl", [{**line, "lang": "abc"[n % 3]} for n, line in enumerate(lines)])
    mine(folder, "first", embed=OLD, filter=LOOSE)
    return folder


def outside(out: Path) -> int:
    return sum(place == -2 for row in read_chosen(out / "emit").to_pylist() for place in row["positions"])


def test_a_condition_bars_earlier_negatives_that_it_does_not_allow(base: Path) -> None:
    out = again(base, "where", filter=LOOSE, retrieve={"where": [{"field": "lang"}]})
    fates = [row for row in read_previous(out / "emit").to_pylist()]
    barred = sum(fate == "barred" for row in fates for fate in row["fates"])
    assert barred == report(out)["previous"]["fates"]["barred"] > 50
    for row in read_chosen(out / "emit").to_pylist():
        assert all(document % 3 == row["query_row"] % 3 for document in row["doc_rows"])
    assert outside(out) > 5


def test_batches_keep_apart_what_stays_too(base: Path) -> None:
    out = again(base, "batches", filter=LOOSE, emit={"batch_size": 8, "batch_by": "random"})
    assert outside(out) > 5
    positives = {row["query_id"]: set() for row in emitted(out)}
    for row in emitted(out):
        positives[row["query_id"]].add(row["positive_id"])
    batches: dict[int, list[dict[str, Any]]] = {}
    for row in emitted(out):
        batches.setdefault(row["batch_id"], []).append(row)
    assert len(batches) > 10
    for own in batches.values():
        negatives = {row["negative_id"] for row in own}
        assert not any(positives[row["query_id"]] & negatives for row in own)


@pytest.mark.parametrize(("ensemble", "cap"), [("intra", None), ("cross", None), ("intra", 9)])
def test_sources_in_turn_fill_what_the_earlier_run_leaves(base: Path, ensemble: str, cap: int | None) -> None:
    emit = {"ensemble": ensemble, "max_per_document": cap, "fallback": "random" if ensemble == "cross" else "none"}
    more: dict[str, Any] = {"filter": LOOSE, "retrieve": {"source": SOURCES}, "emit": emit}
    more["embed"] = {"model": "hash", "document_prompt": "jade opal sand "}  # by which some fall further than others
    more["previous"] = {"run": "first", "replace": "easy", "easy_ratio": 1.25, "easy_below": 0.9}
    out = again(base, f"{ensemble}-{cap}", **more)
    judged, seen = rows(out / "filter"), 0
    for row, was in zip(read_chosen(out / "emit").to_pylist(), read_previous(out / "emit").to_pylist(), strict=True):
        assert len(set(row["doc_rows"])) == len(row["doc_rows"]) <= N
        stays = [d for d, stay in zip(was["doc_rows"], was["stays"], strict=True) if stay]
        assert set(stays) <= set(row["doc_rows"])
        if ensemble != "intra" or cap is not None:
            continue
        query = judged[row["query_row"]]
        easy = {d for d, fate in zip(was["doc_rows"], was["fates"], strict=True) if fate == "easy"}
        free = [
            i
            for i, (d, verdict) in enumerate(zip(query["doc_rows"], query["verdicts"][row["anchor"]], strict=True))
            if verdict == "keep" and d not in easy and d not in stays
        ]
        ranks = np.array([r or 0 for r in query["source_ranks"]]).reshape(len(query["doc_rows"]), -1)[free]
        picked = oracles.round_robin([0] * len(free), ranks.tolist(), N - len(stays))
        assert {query["doc_rows"][free[i]] for i in picked} == set(row["doc_rows"]) - set(stays)
        seen += bool(picked) and bool(stays)
    assert seen > 5 or ensemble != "intra" or cap is not None


def test_a_raw_rescored_score_is_null_where_there_is_none(base: Path) -> None:
    out = again(
        base, "raw", filter=LOOSE, rescore={"model": "hash"}, emit={"extra_columns": [*COLUMNS, "rescore_score"]}
    )
    found = [row for row in emitted(out) if row["source"] == "previous"]
    assert len(found) > 5
    assert all(row["rescore_score"] is None and row["rank"] is None and row["rule"] == "none" for row in found)
    assert all(row["rescore_score"] is not None for row in emitted(out) if row["source"] == "retrieved")


def test_rescored_scores_are_refused_on_either_side(base: Path) -> None:
    rescored = {"filter": {"score": "rescored"}, "rescore": {"model": "hash"}}
    with pytest.raises(ConfigError, match="compared by their teachers' scores"):
        config(base, "no", previous={"run": "first"}, **rescored)
    mine(base, "rescored", **rescored)
    with pytest.raises(InputError, match=r'was filtered with filter\.score = "rescored"'):
        mine(base, "no", previous={"run": "rescored"})
    named = [{"kind": "bm25", "name": "previous"}]
    with pytest.raises(ConfigError, match="choose another name"):
        config(base, "no", previous={"run": "first"}, retrieve={"source": named})


def test_probabilities_and_the_guide_are_those_of_the_judgement(base: Path) -> None:
    columns = [*COLUMNS, "p_false_negative", "guide_score"]
    more: dict[str, Any] = {
        "guide": {"model": "hash", "query_prompt": "opal "},
        "filter": {**LOOSE, "probabilities": True},
        "emit": {"extra_columns": columns},
    }
    out = again(base, "guided", **more)
    was = {
        (row["query_row"], document): (p, guide)
        for row in read_previous(out / "emit").to_pylist()
        for document, p, guide in zip(row["doc_rows"], row["probabilities"], row["guide_scores"], strict=True)
    }
    ids = {name: row for row, name in enumerate(doc_ids(base / "first"))}
    found = [row for row in emitted(out) if row["source"] == "previous"]
    assert len(found) > 5
    for row in found:
        key = int(row["query_id"][1:]), ids[row["negative_id"]]
        assert row["guide_score"] == was[key][1]
        assert 0 <= row["p_false_negative"] <= 1


def test_what_looks_into_a_run_knows_what_stays(base: Path) -> None:
    out = again(base, "seen", filter=LOOSE, report={"html": True})
    chosen = next(row for row in read_chosen(out / "emit").to_pylist() if -2 in row["positions"])
    settings = config(base, "seen", filter=LOOSE, report={"html": True}, previous={"run": "first", "replace": "easy"})
    told = explain_query(settings, f"q{chosen['query_row']}")
    ids = doc_ids(base / "first")
    wanted = [ids[d] for d, place in zip(chosen["doc_rows"], chosen["positions"], strict=True) if place == -2]
    assert [one["doc_id"] for one in told["anchors"][chosen["anchor"]]["previous"]] == wanted
    card = (out / "emit/README.md").read_text()
    assert '"replace": "easy"' in card
    assert "kept from the previous run" in card
    assert 'id="previous"' in (out / "report/report.html").read_text()
    assert "previous" not in (base / "first/emit/README.md").read_text()
    assert compare([str(base / "first"), str(out)], [])["sets"][1]["name"] == str(out)


def test_a_config_without_an_earlier_run_has_the_keys_it_had(base: Path) -> None:
    plain = config(base, "keys", filter=LOOSE)
    one = expected_keys(list(STAGES.values()), RunContext(plain, plain.out_folder, None))
    assert "previous" not in one["emit"]["parts"]
    assert one["emit"]["upstream"].keys() == {"ingest", "filter"}
    other = config(base, "keys", filter=LOOSE, previous={"run": "first"})
    held = expected_keys(list(STAGES.values()), RunContext(other, other.out_folder, None))
    assert [name for name in one if one[name]["key"] != held[name]["key"]] == ["emit", "report"]


def test_two_workers_write_the_same_bytes(base: Path) -> None:
    more: dict[str, Any] = {"emit": {"max_per_document": 8, "fallback": "random"}}
    assert tree(again(base, "one", **more)) == tree(again(base, "two", workers=2, **more))


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of a run in /proc")
def test_killed_and_run_again_gives_the_same_bytes(base: Path) -> None:
    given = {
        "input": {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"},
        "filter": {"rule": "percent"},
        **raw("x", previous={"run": "first", "replace": "easy"}, emit={"fallback": "random", "max_per_document": 8}),
    }
    with fork_server(base / "log") as server:
        server.finish(base, out="unkilled", **given)
        expected = tree(base / "unkilled")
        for number, at in enumerate(("previous/negatives.parquet", "chosen/chosen.parquet", "part-00000.parquet")):
            out = f"killed-{number}"
            child = server.start(base, out=out, **given)
            kill_at(child, base / out / "emit" / at, 0.0, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL
            server.finish(base, out=out, **given)
            assert tree(base / out) == expected


def test_the_page_on_mining_again_shows_what_runs(tmp_path: Path) -> None:
    """Its commands and its config, with the test encoder in place of the models: another length makes another model."""
    page = (ROOT / "docs/remining.md").read_text()
    make_collection(tmp_path)
    (tmp_path / "mine.toml").write_text(
        '[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 10\n[filter]\nrule = "percent"\n[emit]\nnum_negatives = 3\n'
    )
    commands = re.findall(r"^hnmine (.*)$", page, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["run", "run"]
    for command in commands:
        words = command.replace("checkpoints/one", "hash --set embed.max_length=8").split()
        subprocess.run([sys.executable, "-m", "hnmine", *words], cwd=tmp_path, check=True, capture_output=True)
    first = report(tmp_path / "runs/second")
    assert first["previous"]["replace"] == "easy"
    assert first["previous"]["rows"] == 30
    assert 0 < first["previous"]["churn"] < 1
    block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    shown = tomllib.loads(block[1].replace("checkpoints/one", "hash"))
    shown["embed"]["max_length"] = 8
    second = {"retrieve": {"top_k": 10}, "emit": {"num_negatives": 3}, **shown, "out": "runs/third"}
    run(config_for(tmp_path, **second))
    assert report(tmp_path / "runs/third")["previous"] == first["previous"]
