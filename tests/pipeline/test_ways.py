"""Every way of choosing, from the user's files to the emitted rows, and the same bytes however it is run."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from hnmine import run
from hnmine.arrays.dots import pair_dots
from hnmine.commands.explain import explain_query
from hnmine.commands.plan.plan import make_plan
from hnmine.commands.sweep import sweep
from hnmine.config.emit import EmitConfig
from hnmine.errors import ConfigError, IncompleteStage
from hnmine.pipeline.run import RunOptions
from tests.pipeline.helpers import ALL_EXTRA, report, rows, table, vectors
from tests.support import config_for, make_collection, tree

QUERIES, WANTED = 300, 4
WAYS: dict[str, dict[str, Any]] = {
    "simans": {"choose": "simans"},
    "stratified": {"choose": "stratified"},
    "mixed": {"choose": "mixed", "random_share": 0.5},
    "diverse": {"choose": "diverse", "diversity": 0.6},
    "filled": {"fallback": "random", "choose": "simans"},
    "capped-mixed": {"choose": "mixed", "random_share": 0.5, "fallback": "random", "max_per_document": 10},
    "roomy-mixed": {"choose": "mixed", "random_share": 0.5, "fallback": "random", "max_per_document": 16},
    "capped-diverse": {"choose": "diverse", "max_per_document": 4},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection that is retrieved for, in `source`."""
    folder = make_collection(tmp_path_factory.mktemp("ways"), 150, QUERIES)
    run(
        config_for(folder, "source", shard_rows=256, retrieve={"max_top_k": 10}),
        ["ingest", "embed", "index", "retrieve", "filter"],
    )
    return folder


def settings(base: Path, out: str, emit: dict[str, Any], **tables: Any) -> Any:
    emit = {"num_negatives": WANTED, "extra_columns": ALL_EXTRA, **emit}
    own = {"shard_rows": 256, "retrieve": {"max_top_k": 10}, **tables}  # short lists, to be filled up
    return config_for(base, out, emit=emit, **own)


def mine(base: Path, out: str, emit: dict[str, Any], **tables: Any) -> Path:
    run(settings(base, out, emit, **tables), options=RunOptions(source=base / "source"))
    return base / out


def counts(out: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((out / "emit" / "_manifest.json").read_text())["counts"]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_shards_workers_and_a_second_run_change_nothing(base: Path, way: str) -> None:
    one = mine(base, f"{way}-1", WAYS[way])
    assert tree(mine(base, f"{way}-2", WAYS[way])) == tree(one)
    # the whole of it over one shard of queries instead of two
    other = base / f"{way}-3"
    run(settings(base, other.name, WAYS[way], shard_rows=512))
    assert table(other / "emit").equals(table(one / "emit"))
    assert report(other) == {**report(one), "warnings": report(other)["warnings"]}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["capped-mixed", "capped-diverse"])
def test_two_workers_write_the_same_bytes(base: Path, way: str) -> None:
    one = mine(base, f"{way}-inline", WAYS[way])
    assert tree(mine(base, f"{way}-pooled", WAYS[way], workers=2)) == tree(one)


def test_a_run_stopped_after_the_choice_goes_on_to_the_same_bytes(base: Path) -> None:
    whole = mine(base, "whole", WAYS["capped-mixed"])
    cut = mine(base, "cut", WAYS["capped-mixed"])
    shutil.rmtree(cut / "report")
    for path in (cut / "emit" / "_manifest.json", cut / "emit" / "part-00001.parquet"):
        path.unlink()
    assert tree(mine(base, "cut", WAYS["capped-mixed"])) == tree(whole)


@pytest.mark.parametrize("anchor", ["each", "min", "mean", "max", "quantile"])
@pytest.mark.parametrize("way", ["mixed", "filled", "roomy-mixed"])
def test_random_documents_are_new_to_their_query_and_have_their_exact_score(base: Path, way: str, anchor: str) -> None:
    out = base / f"{way}-{anchor}"
    run(
        settings(base, out.name, WAYS[way], filter={"percent": 0.8, "anchor": anchor}),
        options=RunOptions(source=base / "source"),
    )
    source = base / "source"
    keys = table(source / "ingest/corpus").column("text_key").to_numpy()
    queries, judged = rows(source / "ingest/queries"), rows(out / "filter")
    documents, asked = vectors(source, "corpus"), vectors(source, "queries")
    chosen = pq.read_table(out / "emit/chosen/chosen.parquet").to_pylist()
    random = filled = 0
    for row in chosen:
        query = judged[row["query_row"]]
        drawn = [i for i, position in enumerate(row["positions"]) if position == -1]
        found = [i for i, position in enumerate(row["positions"]) if position >= 0]
        assert found + drawn == list(range(len(row["positions"])))  # candidates first
        assert [query["doc_rows"][row["positions"][i]] for i in found] == [row["doc_rows"][i] for i in found]
        assert len(row["positions"]) == WANTED or way == "mixed"
        known = {*query["doc_rows"], *query["positive_rows"], *queries[row["query_row"]]["sibling_rows"]}
        own = [row["doc_rows"][i] for i in drawn]
        assert not {int(keys[d]) for d in own} & {int(keys[d]) for d in known}
        assert queries[row["query_row"]]["text_key"] not in {int(keys[d]) for d in own}
        assert len({int(keys[d]) for d in row["doc_rows"]}) == len(row["doc_rows"])
        exact = pair_dots(documents[own], np.repeat(asked[row["query_row"]][None], len(own), axis=0))
        assert [row["scores"][i] for i in drawn] == exact.tolist()
        wanted = EmitConfig(**{"num_negatives": WANTED, **WAYS[way]}).random_negatives
        assert len(drawn) == (wanted if way == "mixed" else WANTED - len(found))
        random += len(drawn)
        filled += max(0, len(drawn) - wanted)
    numbers = counts(out)
    assert (numbers["negatives_random"], numbers["negatives_filled_up"]) == (random, filled)
    assert (filled > 0) == (way != "mixed")
    served = np.bincount([d for row in chosen for d in row["doc_rows"]])
    assert way != "roomy-mixed" or served.max() == 16


def test_rows_say_where_a_negative_comes_from(base: Path) -> None:
    out = mine(base, "sources", WAYS["mixed"])
    found = rows(out / "emit")
    assert {row["source"] for row in found} == {"retrieved", "random"}
    for row in found:
        assert (row["rank"] is None) == (row["rule"] is None) == (row["source"] == "random")
        assert np.isfinite(row["negative_score"])
    assert sum(row["source"] == "random" for row in found) == 2 * len(
        {(r["query_id"], r["positive_id"]) for r in found}
    )
    assert report(out)["shortage"]["negatives_random"] == counts(out)["negatives_random"]
    assert "of which random documents" in (out / "emit/README.md").read_text()


@pytest.mark.parametrize("name", ["triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list", "bge"])
def test_every_shape_takes_random_documents(base: Path, name: str) -> None:
    out = mine(base, f"shape-{name}", {**WAYS["roomy-mixed"], "format": name})
    lines = (
        [
            json.loads(line)
            for path in sorted((out / "emit").glob("part-*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        if name == "bge"
        else rows(out / "emit")
    )
    sources = [row["source"] if isinstance(row["source"], list) else [row["source"]] for row in lines]
    ranks = [row["rank"] if isinstance(row["rank"], list) else [row["rank"]] for row in lines]
    pairs = [pair for row in zip(sources, ranks, strict=True) for pair in zip(*row, strict=True)]
    assert {source for source, _ in pairs} == {"retrieved", "random"} | ({None} if name == "labeled-pair" else set())
    assert all((rank is None) == (source != "retrieved") for source, rank in pairs)
    if name.startswith("n-tuple"):
        assert len(lines) == counts(out)["examples_full"] == counts(out)["examples"]


def test_the_seed_decides_the_random_documents(base: Path) -> None:
    outs = [base / f"seed-{seed}" for seed in (5, 6)]
    for out in outs:
        run(settings(base, out.name, WAYS["mixed"], seed=int(out.name[-1])))
    one, other = (
        {(r["query_id"], r["negative_id"]) for r in rows(o / "emit") if r["source"] == "random"} for o in outs
    )
    assert len(one & other) < len(one) / 2


def test_without_random_documents_the_vectors_are_not_needed(tmp_path: Path) -> None:
    make_collection(tmp_path)
    run(config_for(tmp_path), ["ingest", "embed", "index", "retrieve", "filter"])
    shutil.rmtree(tmp_path / "out/embed")
    run(config_for(tmp_path), ["emit"])
    for emit in ({"choose": "diverse"}, {"fallback": "random"}):
        with pytest.raises(IncompleteStage, match="embed is not complete"):
            run(config_for(tmp_path, emit=emit), ["emit"], RunOptions(overwrite=True))
    with pytest.raises(IncompleteStage, match='"diverse" needs its vectors'):
        sweep(config_for(tmp_path, emit={"choose": "diverse"}))


def test_a_corpus_without_enough_others_gives_what_there_is(tmp_path: Path) -> None:
    make_collection(tmp_path, 14, 6)
    emit = {"num_negatives": 10, "fallback": "random"}
    run(config_for(tmp_path, emit=emit, filter={"rule": "absolute", "max_score": -5.0}))
    found = counts(tmp_path / "out")
    # 14 documents: the 10 retrieved besides the positives leave 2 or 3
    assert 0 < found["negatives"] == found["negatives_random"] < 6 * 2 * 4
    assert found["examples_full"] == 0
    assert report(tmp_path / "out")["hardness"] is not None


def test_explain_shows_the_random_negatives(base: Path) -> None:
    out = mine(base, "explained", WAYS["mixed"])
    found = explain_query(settings(base, out.name, WAYS["mixed"]), "q3", base / "source")
    own = [r for r in rows(out / "emit") if r["query_id"] == "q3" and r["source"] == "random"]
    shown = [entry for anchor in found["anchors"] for entry in anchor["random"]]
    assert [entry["doc_id"] for entry in shown] == [r["negative_id"] for r in own]
    assert sum(c["chosen"] for anchor in found["anchors"] for c in anchor["candidates"]) == len(
        [r for r in rows(out / "emit") if r["query_id"] == "q3" and r["source"] == "retrieved"]
    )


@pytest.mark.parametrize("way", ["simans", "mixed", "diverse"])
def test_the_protocol_measures_what_is_retrieved(base: Path, way: str) -> None:
    out = mine(base, f"measured-{way}", WAYS[way])
    found = report(out)["hidden_positives"]["this_filter"]
    assert found["chosen"] > 0
    assert found["fill"] <= 1
    if way == "mixed":  # the two best of what is kept, as by `top`
        top = report(mine(base, "measured-top", {"num_negatives": 2}))["hidden_positives"]["this_filter"]
        assert found == top
    swept = sweep(settings(base, out.name, WAYS[way]), base / "source")["settings"][0]
    assert swept["rate"] == pytest.approx(found["rate"])


def test_random_documents_alone_are_not_measured(base: Path) -> None:
    emit = {"choose": "mixed", "random_share": 1.0}
    out = mine(base, "all-random", emit)
    assert {row["source"] for row in rows(out / "emit")} == {"random"}
    assert report(out)["false_negative_rate"] is None
    assert "random documents are not measured" in report(out)["false_negative_rate_reason"]
    with pytest.raises(ConfigError, match="random_share leaves no negative to retrieval"):
        sweep(settings(base, "all-random", emit), base / "source")


def test_plan_warns_of_settings_that_nothing_looks_at(base: Path) -> None:
    unused = {"diversity": 0.1, "simans_a": 2.0, "random_share": 0.5, "strata": 4}
    found = make_plan(settings(base, "planned", unused))["warnings"]
    for name in ("diversity", "simans_a", "random_share", "strata"):
        assert f"emit.{name} is set, but emit.choose is 'top' and does not use it" in found
