"""Out to be judged and back: what is exported, what judgements do to a run, and that truth gets nearer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hnmine.stages.filter.calibration
from hnmine import run
from hnmine.commands.export_judgements import _LIMITS, ExportOptions, _limit, export_judgements
from hnmine.config.filter import FilterConfig
from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage, InputError, OutputError
from hnmine.pipeline.run import RunOptions
from hnmine.runtime.stage import RunContext
from hnmine.science import margins
from hnmine.stages.emit.chosen import read_chosen
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.hidden_positives import ProtocolRows
from hnmine.stages.filter.inputs import FilterInputs
from hnmine.stages.filter.verdicts import RULES, anchor_scores
from tests import oracles
from tests.commands.sample_runs import sample_config, sample_truth
from tests.pipeline.helpers import doc_ids, emitted, rows, table
from tests.strategies import batches
from tests.support import config_for, make_collection, write_jsonl

FIELDS = [
    "query_id", "query", "doc_id", "document", "positives", "score", "rank", "p_false_negative", "verdict", "why",
    "judgement",
]  # fmt: skip
ALL = ExportOptions(number=10**6, per_query=10**6)


def export(config: Config, path: Path, options: ExportOptions) -> list[dict[str, Any]]:
    """Return the lines of an export."""
    found = export_judgements(config, path, options)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert found["written"] == len(lines)
    return lines


@pytest.fixture(scope="module")
def truth() -> dict[str, set[str]]:
    return sample_truth()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of the sample."""
    folder = tmp_path_factory.mktemp("to-judge")
    run(sample_config(folder / "first"))
    return folder


@pytest.fixture(scope="module")
def filled(first: Path, truth: dict[str, set[str]]) -> Path:
    """Return 200 candidates of that run, judged by truth."""
    lines = export(sample_config(first / "first"), first / "judge.jsonl", ExportOptions())
    for line in lines:
        line["judgement"] = "relevant" if line["doc_id"] in truth[line["query_id"]] else "irrelevant"
    return write_jsonl(first / "filled.jsonl", lines)


def share(out: Path, truth: dict[str, set[str]]) -> float:
    """Share of emitted negatives that are truly relevant."""
    return float(np.mean([row["negative_id"] in truth[row["query_id"]] for row in emitted(out)]))


def test_judging_200_candidates_lowers_the_share_of_truly_relevant_negatives(
    first: Path, filled: Path, truth: dict[str, set[str]]
) -> None:
    """Stated before the run: by a quarter at least, and none of the relevant ones is a negative any more."""
    judged = [json.loads(line) for line in filled.read_text().splitlines()]
    relevant = {(one["query_id"], one["doc_id"]) for one in judged if one["judgement"] == "relevant"}
    run(sample_config(first / "second", input={"judgements": str(filled)}))
    before, after = share(first / "first", truth), share(first / "second", truth)
    assert before > 0.01
    assert after <= 0.75 * before
    assert relevant & {(row["query_id"], row["negative_id"]) for row in emitted(first / "first")}
    assert not relevant & {(row["query_id"], row["negative_id"]) for row in emitted(first / "second")}
    names = doc_ids(first / "second")
    for row in rows(first / "second/filter"):
        for document, *verdicts in zip(row["doc_rows"], *row["verdicts"], strict=True):
            told = (row["query_id"], names[document]) in relevant
            assert [verdict == "judged_relevant" for verdict in verdicts] == [told] * len(verdicts)


def test_judged_irrelevant_ones_are_judged_negatives_and_kept_where_asked_for(first: Path, filled: Path) -> None:
    judged = [json.loads(line) for line in filled.read_text().splitlines()]
    irrelevant = {(one["query_id"], one["doc_id"]) for one in judged if one["judgement"] == "irrelevant"}
    keep = {"filter": {"judged_negatives": "keep"}, "emit": {"prefer_judged": True}}
    run(sample_config(first / "kept", input={"judgements": str(filled)}, **keep))
    names, met = doc_ids(first / "kept"), set()
    for row in rows(first / "kept/filter"):
        for place, document in enumerate(row["doc_rows"]):
            pair = (row["query_id"], names[document])
            if pair in irrelevant:
                met.add(pair)
                assert row["judged_negatives"][place]
                assert {verdicts[place] for verdicts in row["verdicts"]} <= {"keep", "copy_of_negative"}
    assert met == irrelevant


def test_a_second_export_asks_nothing_twice_unsure_ones_included(first: Path, filled: Path) -> None:
    lines = [json.loads(line) for line in filled.read_text().splitlines()]
    for line in lines[::2]:
        line["judgement"] = "unsure"
    partly = write_jsonl(first / "partly.jsonl", lines)
    again = sample_config(first / "again", input={"judgements": str(partly)})
    run(again)
    more = export(again, first / "more.jsonl", ALL)
    assert len(more) > 1000
    assert not {(m["query_id"], m["doc_id"]) for m in more} & {(one["query_id"], one["doc_id"]) for one in lines}


@pytest.mark.parametrize("probabilities", [True, False])
def test_the_export_is_what_a_double_loop_finds(tmp_path: Path, probabilities: bool) -> None:
    folder = make_collection(tmp_path, 80, 40)
    with (folder / "qrels.tsv").open("a") as file:
        file.writelines(f"q{i}\td{(i * 7 + 11) % 80}\t0\n" for i in range(40))
    rules = {"rule": ["percent", "two_sided"], "probabilities": probabilities}
    config = config_for(folder, filter=rules, retrieve={"max_top_k": 10})
    run(config)
    expected = by_loops(folder / "out", config)
    found = export(config, tmp_path / "all.jsonl", ALL)
    picked = oracles.highest_judging_values([entry[:3] for entry in expected], len(expected), 10**6)
    names, asked = doc_ids(folder / "out"), table(folder / "out/ingest/queries").column("query_id").to_pylist()
    assert [(f["query_id"], f["doc_id"], f["verdict"], f["why"].split(";")[0]) for f in found] == [
        (asked[query], names[document], verdict, why)
        for _, query, document, verdict, why in (expected[place] for place in picked)
    ]
    assert {f["why"].split(" ")[0] for f in found} == {"chosen", "kept,", "rejected"}
    assert all(list(f) == FIELDS and f["judgement"] == "" for f in found)
    assert {f["p_false_negative"] is None for f in found} == {not probabilities}
    few = export(config, tmp_path / "few.jsonl", ExportOptions(17, 2))
    picked = oracles.highest_judging_values([entry[:3] for entry in expected], 17, 2)
    assert [(f["query_id"], f["doc_id"]) for f in few] == [
        (asked[expected[p][1]], names[expected[p][2]]) for p in picked
    ]


def by_loops(out: Path, config: Config) -> list[tuple[float, int, int, str, str]]:
    """Return (worth, query, document, verdict, why) of every cell that may be exported."""
    found = []
    chosen = {(c["query_row"], c["anchor"]): c["positions"] for c in read_chosen(out / "emit").to_pylist()}
    for row in rows(out / "filter"):
        for number, (anchor, verdicts) in enumerate(zip(row["anchor_scores"], row["verdicts"], strict=True)):
            for place, (document, verdict) in enumerate(zip(row["doc_rows"], verdicts, strict=True)):
                if row["judged_negatives"][place] or (verdict != "keep" and verdict not in RULES):
                    continue
                taken = place in chosen[row["query_row"], number]
                limit = anchor - (1 - config.filter.percent) * abs(anchor)
                p = oracles.logistic((row["scores"][place] - limit) / row["background_std"])
                if row["probabilities"][0]:
                    p = row["probabilities"][number][place]
                worth = (1.0 if taken else 0.5) * p * (1 - p)
                kept = "chosen as a negative" if taken else "kept, not chosen"
                why = kept if verdict == "keep" else f"rejected by the rule {verdict}"
                found.append((worth, row["query_row"], document, verdict, why))
    return found


@given(batches(min_queries=1), st.sampled_from(sorted(_LIMITS)), st.sampled_from([0.05, 0.3, 0.8]))
def test_the_limit_is_where_the_rule_starts_to_reject(batch: Any, rule: str, number: float) -> None:
    config = FilterConfig(rule=rule, **{rule: number})  # type: ignore[arg-type]
    cells = Cells.of(batch, anchor_scores(batch.positive_scores, config))
    limit = _limit(batch, cells, config)
    for step, kept in ((-1e-4, True), (1e-4, False)):
        scores = (limit + step).astype(np.float32)
        floor = batch.background_mean[cells.anchors.owners[cells.anchor]]
        given_ = (scores, cells.scores, floor) if rule == "adaptive" else (scores, cells.scores)
        assert (getattr(margins, rule)(*given_, number) == kept).all()


def test_the_file_is_the_same_whatever_the_shards_and_again(tmp_path: Path) -> None:
    folder = make_collection(tmp_path, 200, 600)
    files = []
    for name, size in (("one", 4096), ("many", 256)):
        config = config_for(folder, name, shard_rows=size)
        run(config)
        for turn in range(2):
            export(config, tmp_path / f"{name}-{turn}.jsonl", ExportOptions(50, 2))
            files.append((tmp_path / f"{name}-{turn}.jsonl").read_bytes())
    assert len(list((folder / "many/filter").glob("part-*"))) > 1
    assert len(set(files)) == 1


def test_what_is_judged_relevant_is_a_one_of_the_fit_and_the_irrelevant_a_zero(
    first: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def labels(out: str, **tables: Any) -> tuple[ProtocolRows, np.ndarray]:
        made = sample_config(first / out, **tables)
        run(made, stages=("ingest", "embed", "index", "retrieve"))
        state, seen = FilterInputs.open(RunContext(made, made.out_folder)), []
        monkeypatch.setattr(hnmine.stages.filter.calibration, "fit", lambda x, y, weights: seen.append(y))
        monkeypatch.setattr(hnmine.stages.filter.calibration, "stack", lambda models: models)
        protocol = ProtocolRows.of(state.batches, made)
        hnmine.stages.filter.calibration._fit(protocol.rows, made)
        return protocol, seen[-1]

    judged = [json.loads(line) for line in filled.read_text().splitlines()]
    said = {(one["query_id"], one["doc_id"]): one["judgement"] for one in judged}
    protocol, found = labels("fit", input={"judgements": str(filled)})
    plain, before = labels("first")
    names = doc_ids(first / "fit")
    asked = table(first / "fit/ingest/queries").column("query_id").to_pylist()
    expected, turned = [], 0
    for part, old in zip(protocol.rows, plain.rows, strict=True):
        np.testing.assert_array_equal(part.batch.candidates.values, old.batch.candidates.values)
        for at, document in enumerate(part.batch.candidates.values):
            if not part.batch.is_positive[at]:
                query = asked[part.batch.query_rows[part.batch.owners[at]]]
                answer = said.get((query, names[document]))
                expected.append(bool(part.is_hidden[at]) or answer == "relevant")
                turned += answer == "relevant"
    assert found.tolist() == expected
    assert int(found.sum()) == int(before.sum()) + turned > int(before.sum())


def test_random_documents_are_never_what_is_judged_relevant(tmp_path: Path) -> None:
    folder = make_collection(tmp_path, 30, 10)
    settings: dict[str, Any] = {
        "retrieve": {"top_k": 2},
        "emit": {"num_negatives": 12, "fallback": "random", "extra_columns": ["query_id", "negative_id"]},
    }
    run(config_for(folder, "plain", **settings))
    drawn = [(row["query_id"], row["negative_id"]) for row in emitted(folder / "plain")][::3]
    lines = [{"query_id": q, "doc_id": d, "judgement": "relevant"} for q, d in drawn]
    write_jsonl(folder / "judge.jsonl", lines)
    run(config_for(folder, "judged", input={"judgements": "judge.jsonl"}, **settings))
    found = {(row["query_id"], row["negative_id"]) for row in emitted(folder / "judged")}
    assert found
    assert not found & set(drawn)


def test_another_judgement_makes_a_run_stale(tmp_path: Path) -> None:
    folder = make_collection(tmp_path)
    write_jsonl(folder / "judge.jsonl", [{"query_id": "q0", "doc_id": "d9", "judgement": "unsure"}])
    config = config_for(folder, input={"judgements": "judge.jsonl"})
    run(config)
    write_jsonl(folder / "judge.jsonl", [{"query_id": "q0", "doc_id": "d9", "judgement": "relevant"}])
    with pytest.raises(OutputError, match=r"judge\.jsonl"):
        run(config)
    run(config, options=RunOptions(overwrite=True))
    assert rows(folder / "out/ingest/queries")[0]["relevant_rows"] == [9]


def test_an_export_is_refused_where_it_would_destroy_or_find_nothing(tmp_path: Path) -> None:
    folder = make_collection(tmp_path, 12, 4)
    config = config_for(folder, retrieve={"top_k": 3})
    path = tmp_path / "judge.jsonl"
    with pytest.raises(IncompleteStage, match="hnmine run"):
        export_judgements(config, path, ALL)
    assert not path.exists()
    run(config)
    lines = export(config, path, ALL)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="may hold judgements"):
        export_judgements(config, path, ALL)
    assert path.read_bytes() == before
    export_judgements(config, path, ExportOptions(1, 1, replace=True))
    assert path.read_bytes() == before[: before.index(b"\n") + 1]
    for line in lines:
        line["judgement"] = "irrelevant"
    write_jsonl(folder / "done.jsonl", lines)
    done = config_for(folder, "done", retrieve={"top_k": 3}, input={"judgements": "done.jsonl"})
    run(done)
    with pytest.raises(InputError, match="left to judge"):
        export_judgements(done, tmp_path / "none.jsonl", ALL)
    assert not (tmp_path / "none.jsonl").exists()
