import json
import subprocess
import sys

import pytest

from hnmine.commands.explain import explain_query, shown
from hnmine.commands.export_judgements import ExportOptions, export_judgements
from hnmine.commands.finished_run import finished_run
from hnmine.commands.random_rows import random_rows
from hnmine.errors import IncompleteStage
from hnmine.pipeline.run import run
from hnmine.storage.store import read_table
from tests.support import ROOT, config_for, make_collection, write_jsonl

STAGES = ("ingest", "filter", "emit")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = make_collection(tmp_path_factory.mktemp("finished"))
    run(config_for(folder))
    return folder


def differences(config):
    return [(one["name"], one["was"], one["now"]) for one in finished_run(config, None, STAGES).other_settings]


def test_a_run_of_the_same_config_differs_in_nothing(base):
    found = finished_run(config_for(base), None, STAGES)
    assert (found.other_settings, found.not_compared) == ([], [])
    assert found.stages == {"ingest", "embed", "index", "retrieve", "filter", "emit"}


def test_settings_without_effect_do_not_count_and_the_context_has_those_of_the_run(base):
    changed = config_for(base, filter={"rule": "margin", "margin": 0.2}, emit={"num_negatives": 9}, workers=3)
    assert sorted(differences(changed)) == [
        ("emit.num_negatives", 3, 9),
        ("filter.margin", 0.05, 0.2),
        ("filter.rule", "percent", "margin"),
    ]
    made = finished_run(changed, None, STAGES).context.config
    assert (made.filter.rule, made.emit.num_negatives, made.workers) == ("percent", 3, 3)


def test_how_deep_the_run_searched_is_that_of_the_run(tmp_path):
    folder = make_collection(tmp_path)
    run(config_for(folder, retrieve={"top_k": 10, "max_top_k": 20}))
    changed = config_for(folder, retrieve={"top_k": 10, "max_top_k": 40})
    assert differences(changed) == [("retrieve.max_top_k", 20, 40)]
    assert finished_run(changed, None, STAGES).context.config.retrieve.max_top_k == 20


def test_sources_of_candidates_are_those_of_the_run(tmp_path):
    make_collection(tmp_path)
    sources = [{"kind": "dense"}, {"kind": "bm25", "name": "words"}]
    run(config_for(tmp_path, retrieve={"source": sources}))
    plain = config_for(tmp_path)
    names = finished_run(plain, None, STAGES).context.config.retrieve.source
    assert [one.label for one in names] == ["dense", "words"]
    assert "retrieve.source" in [name for name, _, _ in differences(plain)]
    candidate = explain_query(plain, "q1")["anchors"][0]["candidates"][0]
    assert list(candidate["source_ranks"]) == ["dense", "words"]


def test_a_changed_input_is_told_and_a_missing_one_could_not_be_compared(tmp_path):
    make_collection(tmp_path)
    config = config_for(tmp_path)
    run(config)
    before = explain_query(config, "q1")
    with (tmp_path / "qrels.tsv").open("a") as file:
        file.write("q0\td9\t1\n")
    assert [name for name, _, _ in differences(config)] == ["input.qrels"]
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()
    after = explain_query(config, "q1")
    (reason,) = after["not_compared"]
    assert reason.startswith("ingest: input.corpus: corpus.jsonl: no such file")
    assert after == {**before, "not_compared": [reason]}


def test_a_model_that_is_gone_could_not_be_compared(base):
    found = finished_run(config_for(base, embed={"model": "./gone"}), None, STAGES)
    assert found.other_settings == []
    assert found.not_compared == [f"embed: embed.model: no folder {base / 'gone'}"]


def test_a_model_is_not_fetched_to_compare_it(base, monkeypatch):
    def refuse(name, **settings):
        assert settings.get("local_files_only")
        raise OSError("not in the cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    found = finished_run(config_for(base, embed={"model": "some/model"}), None, STAGES)
    assert found.not_compared == ["embed: embed.model 'some/model' is not on this machine"]


def test_a_set_made_from_another_filter_is_no_part_of_a_run(tmp_path):
    make_collection(tmp_path)
    run(config_for(tmp_path))
    stricter = config_for(tmp_path, filter={"percent": 0.5})
    (tmp_path / "out/filter").rename(tmp_path / "old")
    run(stricter, ("filter",))
    with pytest.raises(IncompleteStage, match="emit was made from other results of filter; run `hnmine emit --over"):
        random_rows(stricter, 3)
    assert not any(one["chosen"] for one in explain_query(stricter, "q1")["anchors"][0]["candidates"])


def test_judgements_are_exported_by_the_rules_of_the_run(base, tmp_path):
    lines = []
    for name, settings in (("same", {}), ("changed", {"filter": {"rule": "margin", "margin": 0.9}})):
        path = tmp_path / f"{name}.jsonl"
        found = export_judgements(config_for(base, **settings), path, ExportOptions())
        assert bool(found["other_settings"]) == (name == "changed")
        lines.append(path.read_text())
    assert lines[0] == lines[1]


def test_comparing_a_run_loads_no_model_library(base):
    write_jsonl(base / "unused.jsonl", [])
    code = (
        "import sys; from tests.support import config_for; from hnmine.commands.explain import explain_query;"
        f"from pathlib import Path; explain_query(config_for(Path({str(base)!r})), 'q1');"
        "print([name for name in ('torch', 'faiss', 'sentence_transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize(
    ("count", "chosen", "top", "expected"),
    [
        (5, [], 2, [0, 1]),
        (5, [4, 1], 3, [0, 1, 4]),
        (5, [4, 3, 2], 2, [2, 3, 4]),
        (5, [-1, 3, -2], 2, [0, 3]),
        (5, [2], None, [0, 1, 2, 3, 4]),
        (2, [], 20, [0, 1]),
        (0, [], 20, []),
    ],
)
def test_the_chosen_candidates_and_then_the_best_are_shown(count, chosen, top, expected):
    assert shown(count, chosen, top).tolist() == expected


def emitted(folder):
    """Return the (query, positive, negative) ids of the written triplets."""
    rows = [row for path in sorted((folder / "out/emit").glob("part-*")) for row in read_table(path).to_pylist()]
    return {(row["query_id"], row["positive_id"], row["negative_id"], row["negative_score"]) for row in rows}


@pytest.mark.parametrize(
    "emit", [{}, {"choose": "mixed", "random_share": 0.7}, {"bad_positives": "leave_out", "format": "n-tuple"}]
)
def test_random_rows_are_rows_of_the_set_and_all_of_them_are_the_set(tmp_path, emit):
    make_collection(tmp_path)
    extra = ["query_id", "positive_id", "negative_id", "negative_score"] if "format" not in emit else []
    settings = {"num_negatives": 3, "extra_columns": extra, **emit}
    config = config_for(tmp_path, filter={"anchor": "each", "percent": 0.8}, emit=settings)
    run(config)
    found = random_rows(config, 10_000)
    shown_rows = {
        (row["query_id"], row["positive"]["doc_id"], one["doc_id"], one["score"])
        for row in found["rows"]
        for one in row["negatives"]
    }
    assert len(found["rows"]) == found["rows_in_all"]
    if "format" not in emit:
        assert shown_rows == emitted(tmp_path)
    else:
        files = sorted((tmp_path / "out/emit").glob("part-*"))
        assert found["rows_in_all"] == sum(read_table(path).num_rows for path in files)
    verdicts = {one["verdict"] for row in found["rows"] for one in row["negatives"]}
    assert verdicts == ({"keep", "random"} if "random_share" in emit else {"keep"})
    some = random_rows(config, 4, seed=1)
    assert len(some["rows"]) == 4
    assert all(row in found["rows"] for row in some["rows"])
    assert random_rows(config, 4, seed=2)["rows"] != some["rows"]
