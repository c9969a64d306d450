"""Several dense teachers as sources over the whole pipeline: what each finds, who judges, what is wrong with them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hnmine import run
from hnmine.arrays.dots import pair_dots
from hnmine.arrays.ragged import Ragged
from hnmine.cli.run_stages import draw_report, draw_stages
from hnmine.commands.plan.plan import make_plan
from hnmine.config.retrieve import SourceConfig
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, InputError, ModelError, StaleOutput
from hnmine.pipeline.run import RunOptions
from hnmine.pipeline.stages import STAGES
from hnmine.science.ensembling import random_source
from hnmine.search.bm25 import words_of
from hnmine.stages.emit.chosen import anchor_seeds, read_chosen
from hnmine.stages.emit.negative_columns import shares_line
from tests import oracles
from tests.pipeline.helpers import doc_ids, report, rows, table, vectors
from tests.support import config_for, make_collection, tree

DOCUMENTS, QUERIES, DEPTH = 320, 280, 6
SHORT = {"kind": "dense", "name": "short", "teacher": {"model": "hash", "max_length": 8}}
ODD = {
    "kind": "dense",
    "name": "odd",
    "top_k": 4,
    "teacher": {"model": "hash", "similarity": "dot", "query_prompt": "delta delta ember "},
}
BM25 = {"kind": "bm25", "stem": False, "k1": 0.9, "b": 0.4}
ALL = [SHORT, BM25, ODD]
JUDGE = {"model": "hash", "document_prompt": "amber tide "}
LOOSE = {"rule": "none", "max_positive_similarity": None, "max_query_similarity": None}
SEARCH = ("ingest", "embed", "index", "retrieve")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("teachers"), DOCUMENTS, QUERIES)


def config(base: Path, out: str = "out", source: Any = None, **tables: Any) -> Config:
    retrieve = {"top_k": DEPTH, "source": ALL if source is None else source, **tables.pop("retrieve", {})}
    return config_for(base, out, **{"embed": JUDGE, "shard_rows": 256, "filter": LOOSE, "retrieve": retrieve, **tables})


@pytest.fixture(scope="module")
def mined(base: Path) -> Path:
    run(config(base))
    return base / "out"


def scores_of(out: Path) -> list[np.ndarray]:
    """Return the scores of every (query, document) by each source: inner products of pairs, and BM25's formula."""
    split = words_of(SourceConfig(**BM25))
    texts = [split(d["text"]) for d in rows(out / "ingest/corpus")]
    queries = [split(q["text"]) for q in rows(out / "ingest/queries")]
    of_word = {word: np.array(oracles.bm25([word], texts, 0.9, 0.4)) for word in {w for q in queries for w in q}}
    words = np.array([sum((of_word[word] for word in query), np.zeros(len(texts))) for query in queries])
    return [products(out, "sources/short/"), words, products(out, "sources/odd/")]


def products(out: Path, where: str = "") -> np.ndarray:
    """Return the inner product of every query with every document, each by itself, as float32."""
    queries, documents = (vectors(out, f"{where}{side}") for side in ("queries", "corpus"))
    return np.array([pair_dots(documents, np.broadcast_to(query, documents.shape)) for query in queries])


def test_candidates_are_those_of_a_search_of_everything_by_each_source(mined: Path) -> None:
    by_source, judge = scores_of(mined), products(mined)
    others = [np.abs(judge - scores).max() for scores in by_source]
    assert min(others) > 0.1, "the sources differ from the judge"
    alone = np.zeros(3)
    for row in rows(mined / "retrieve"):
        documents, known = row["doc_rows"], row["positive_rows"]
        ranks = np.array([rank or 0 for rank in row["source_ranks"]]).reshape(-1, 3)
        given = np.array(row["source_scores"], dtype=float).reshape(-1, 3)
        for number, depth in enumerate((DEPTH, DEPTH, 4)):
            scores = by_source[number][row["query_row"]]
            own = {documents[place]: given[place, number] for place in np.flatnonzero(ranks[:, number])}
            assert list(own.values()) == pytest.approx(scores[list(own)].tolist(), abs=0 if number != 1 else 1e-5)
            # of words, the scores as they are stored: in float32 ties are others than in float64
            exact = scores.copy()
            exact[list(own)] = list(own.values())
            order = sorted(
                np.flatnonzero(exact > 0) if number == 1 else range(len(exact)), key=lambda d, s=exact: (-s[d], d)
            )
            found = sorted(own, key=lambda d, n=number: ranks[documents.index(d), n])
            if number != 1:
                assert found == oracles.down_to(order, known, depth)
            else:
                assert sum(d not in known for d in found) == min(depth, sum(d not in known for d in order))
                assert np.delete(exact, found).max() <= exact[found].min() + 1e-5
        assert (ranks > 0).any(axis=1).all()
        alone += ((ranks > 0) & ((ranks > 0).sum(axis=1) == 1)[:, None]).sum(axis=0)
        assert row["scores"] == pytest.approx(judge[row["query_row"]][documents].tolist(), abs=1e-6)
        assert list(zip([-s for s in row["scores"]], documents, strict=True)) == sorted(
            zip([-s for s in row["scores"]], documents, strict=True)
        )
    assert (alone > 100).all(), "each source finds something that no other does"


def test_similarity_says_whether_a_sources_vectors_are_normalised(mined: Path) -> None:
    norms = {name: np.linalg.norm(vectors(mined, f"sources/{name}/corpus"), axis=1) for name in ("short", "odd")}
    assert norms["short"] == pytest.approx(1, abs=1e-5)
    assert norms["odd"].min() > 2


def test_a_sources_teacher_finds_what_it_finds_as_the_teacher_of_embed(base: Path, mined: Path) -> None:
    run(config(base, "alone", source=[], embed=SHORT["teacher"]), SEARCH)
    assert table(base / "alone/embed/corpus").equals(table(mined / "embed/sources/short/corpus"))
    for own, row in zip(rows(base / "alone/retrieve"), rows(mined / "retrieve"), strict=True):
        ranks, given = row["source_ranks"][::3], row["source_scores"][::3]
        found = {rank: (d, s) for d, rank, s in zip(row["doc_rows"], ranks, given, strict=True) if rank}
        assert [found[rank] for rank in own["ranks"]] == list(zip(own["doc_rows"], own["scores"], strict=True))


def test_an_approximate_index_is_the_judges_alone(base: Path, mined: Path) -> None:
    both = [*ALL, {"kind": "dense"}]
    approximate = {"kind": "ivf", "ivf_lists": 8, "ivf_probe": 1}
    run(config(base, "ivf", source=both, index=approximate), SEARCH)
    run(config(base, "flat", source=both), SEARCH)
    missed = 0
    for row, flat in zip(rows(base / "ivf/retrieve"), rows(base / "flat/retrieve"), strict=True):
        lists = [
            {
                (d, own["source_ranks"][4 * i + n])
                for i, d in enumerate(own["doc_rows"])
                if own["source_ranks"][4 * i + n]
            }
            for own in (row, flat)
            for n in range(4)
        ]
        assert lists[:3] == lists[4:7]
        missed += lists[3] != lists[7]
    assert missed


@pytest.mark.slow
def test_the_same_bytes_whatever_the_shards_the_workers_and_the_cache(tmp_path: Path) -> None:
    where = make_collection(tmp_path, DOCUMENTS, QUERIES)
    run(config(where, "one", shard_rows=512, memory="1KB"), SEARCH)
    run(config(where, "two", workers=2), SEARCH)
    for folder in ("embed/corpus", "embed/sources/odd/corpus", "embed/sources/odd/queries", "retrieve"):
        assert table(where / "one" / folder).equals(table(where / "two" / folder))


def test_a_run_that_is_killed_goes_on_where_it_was(base: Path, mined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, stage, calls = config(base, "killed"), STAGES["embed"], []

    def dying(process: Any) -> Any:
        def dies(state: Any, item: Any, tick: Any) -> pa.Table:
            calls.append(item.output.relative_to(base / "killed/embed").as_posix())
            if calls.count("sources/short/corpus/part-00001.parquet") == len(calls) - 5 == 1:
                raise KeyboardInterrupt
            return process(state, item, tick)

        return dies

    steps = tuple(dataclasses.replace(step, process=dying(step.process)) for step in stage.steps)
    with monkeypatch.context() as patched:
        patched.setitem(STAGES, "embed", dataclasses.replace(stage, steps=steps))
        with pytest.raises(KeyboardInterrupt):
            run(settings)
        before = len(calls)
        run(settings)
    assert calls[before:][0] == calls[before - 1], "it goes on with the shard that it died on"
    assert not set(calls[: before - 1]) & set(calls[before:])
    assert tree(base / "killed") == tree(mined)


def test_keys_cover_the_teachers_by_name_and_no_more(base: Path, mined: Path) -> None:
    def states(source: list[Any], **tables: Any) -> dict[str, str]:
        return {s["stage"]: s["state"] for s in make_plan(config(base, source=source, **tables))["stages"]}

    assert set(states(ALL, workers=2, memory="702MB").values()) == {"done"}
    turned = states([ODD, SHORT, BM25])
    assert turned["embed"] == turned["index"] == "done", "another order needs no new vectors"
    assert turned["retrieve"].startswith("stale")
    assert states([{**SHORT, "top_k": 5}, BM25, ODD])["embed"] == "done"
    longer = {**SHORT, "teacher": {"model": "hash", "max_length": 9}}
    assert "sources.short.settings.max_length was 8, now 9" in states([longer, BM25, ODD])["embed"]
    faster = {**SHORT, "teacher": {"model": "hash", "max_length": 8, "batch_size": 4, "device": "cpu"}}
    assert set(states([faster, BM25, ODD]).values()) == {"done"}
    with pytest.raises(StaleOutput, match=r"embed: sources.short.settings.max_length was 8, now 9"):
        run(config(base, source=[longer, BM25, ODD]))


def test_plan_counts_their_vectors_and_the_summary_names_them(
    base: Path, mined: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, three = (make_plan(config(base, f"plan{len(s)}", source=s)) for s in ([BM25], ALL))
    each = (DOCUMENTS + QUERIES) * (256 * 4 + 8)
    assert three["disk_bytes"] - one["disk_bytes"] >= 2 * each
    more = three["memory_of_stages"]["retrieve"] - one["memory_of_stages"]["retrieve"]
    assert more >= 2 * DOCUMENTS * 256 * 4
    assert three["stages"][1]["work"].count("hash") == 3
    done = make_plan(config(base))  # counted by ingest, where labels are not lines of a file
    assert done["memory_bytes"] == pytest.approx(three["memory_bytes"], rel=0.001)
    draw_stages(run(config(base)))
    assert "and of 256 by odd, and of 256 by short" in " ".join("".join(capsys.readouterr()).split())


def saved(folder: Path, name: str, dim: int, queries: int = 4) -> dict[str, Any]:
    random = np.random.default_rng(dim)
    np.save(folder / f"{name}-d.npy", random.normal(size=(5, dim)).astype(np.float32))
    np.save(folder / f"{name}-q.npy", random.normal(size=(queries, dim)).astype(np.float32))
    return {"model": "precomputed", "corpus_vectors": f"{name}-d.npy", "query_vectors": f"{name}-q.npy"}


def test_vectors_that_are_brought(tmp_path: Path) -> None:
    make_collection(tmp_path, 5, 4)
    settings = {"top_k": 2, "source": [{"kind": "dense", "name": n, "teacher": saved(tmp_path, n, k)} for n, k in
                                       (("three", 3), ("two", 2))]}  # fmt: skip
    run(config_for(tmp_path, retrieve=settings, emit={"num_negatives": 2}))
    for name in ("three", "two"):
        given = np.load(tmp_path / f"{name}-d.npy")
        unit = given / np.linalg.norm(given, axis=1, keepdims=True)
        assert vectors(tmp_path / "out", f"sources/{name}/corpus") == pytest.approx(unit)
    saved(tmp_path, "two", 2, queries=3)
    with pytest.raises(InputError, match=r"two-q.npy \(retrieve.source.1.teacher.query_vectors\): 3 vectors for 4"):
        run(config_for(tmp_path, "short", retrieve=settings, emit={"num_negatives": 2}))
    assert not list((tmp_path / "short/embed").rglob("*.parquet")), "what is brought is looked at first"


def test_a_local_model_is_looked_for_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_collection(tmp_path / "conf", 5, 4)
    (tmp_path / "conf/mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for model in ("mine", "./mine"):
        source = [{"kind": "dense", "name": "a", "teacher": {"model": model}}]
        teacher = config_for(tmp_path / "conf", retrieve={"source": source}).retrieve.source[0].teacher
        assert teacher is not None
        assert Path(teacher.model).resolve() == tmp_path / "conf/mine"
    with pytest.raises(ModelError, match=r"^retrieve.source.0.teacher.model: no folder"):
        run(config(tmp_path / "conf", source=[{"kind": "dense", "name": "a", "teacher": {"model": "./none"}}]))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([SHORT, {**SHORT, "teacher": {"model": "hash", "max_length": 9}}], "2 sources are called 'short'"),
        ([{"kind": "dense", "teacher": SHORT["teacher"]}], "retrieve.source.0.name: needed by"),
        ([{**SHORT, "name": ".."}], "retrieve.source.0.name: '..' cannot name a folder"),
        ([{"kind": "bm25", "teacher": {"model": "hash"}}], "source.0.teacher: only a source of kind 'dense'"),
        ([{**SHORT, "teacher": {**JUDGE, "batch_size": 3}}], r"source.0.teacher: .* as \[embed\]; leave it out"),
        ([SHORT, {**SHORT, "name": "again"}], "source.1.teacher: .* as retrieve.source.0.teacher"),
        ([{**SHORT, "teacher": {"model": "precomputed"}}], "source.0.teacher.corpus_vectors: needed with"),
        (
            [{**SHORT, "teacher": {"model": "m", "query_vectors": "q.npy"}}],
            "source.0.teacher.query_vectors: given, but",
        ),
        ([{**SHORT, "teacher": {"modell": "hash"}}], "source.0.teacher.modell: unknown key; did you mean model"),
        ([{"kind": "dense"}, {"kind": "dense", "name": "b"}, SHORT], r"all would search by \[embed\]"),
    ],
)
def test_teachers_that_make_no_sense(base: Path, source: list[Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(base, source=source)


def test_all_that_is_wrong_is_said_at_once(base: Path) -> None:
    source = [{"kind": "dense", "teacher": JUDGE}, {"kind": "bm25", "teacher": {"model": "precomputed"}}]
    with pytest.raises(ConfigError) as raised:
        config(base, source=source)
    for part in ("source.0.name", "source.0.teacher: the same", "source.1.teacher: only", "source.1.teacher.query_vec"):
        assert part in str(raised.value)


COLUMNS = ["query_id", "positive_id", "negative_id", "source"]
EMIT = {"num_negatives": 3, "extra_columns": COLUMNS}


def mine(base: Path, out: str, mined: Path, **emit: Any) -> Path:
    tables = {"filter": {**LOOSE, "rule": "percent", "percent": 1.0}, "emit": {**EMIT, **emit}}
    run(config(base, out, **tables), options=RunOptions(source=mined))
    return base / out


def kept_of(out: Path) -> dict[tuple[int, int], list[tuple[int, list[int]]]]:
    """Return for each (query, anchor) the documents kept, each with its rank in each source or 0."""
    found = {}
    for row in rows(out / "filter"):
        for anchor, verdicts in enumerate(row["verdicts"]):
            ranks = [rank or 0 for rank in row["source_ranks"]]
            triples = zip(row["doc_rows"], verdicts, range(0, len(ranks), 3), strict=True)
            own = [(d, ranks[first : first + 3]) for d, verdict, first in triples if verdict == "keep"]
            found[row["query_row"], anchor] = own
    return found


@pytest.mark.parametrize(("ensemble", "cap"), [("cross", None), ("intra", None), ("intra", 4), ("cross", 4)])
def test_an_ensemble_takes_what_a_plain_loop_takes(base: Path, mined: Path, ensemble: str, cap: int | None) -> None:
    where = f"{ensemble}{cap}"
    out = mine(base, where, mined, ensemble=ensemble, max_per_document=cap)
    judged, used, drawn, short = kept_of(out), dict[int, int](), set(), 0
    for row in read_chosen(out / "emit").to_pylist():
        query, anchor = row["query_row"], row["anchor"]
        free = [(d, ranks) for d, ranks in judged[query, anchor] if cap is None or used.get(d, 0) < cap]
        if ensemble == "intra":
            places = oracles.round_robin([0] * len(free), [ranks for _, ranks in free], 3)
            expected = {free[place][0] for place in places}
        else:
            anchors = Ragged.from_lengths(np.zeros(anchor + 1), np.array([anchor + 1]))
            source = int(random_source(anchor_seeds(0, [f"q{query}"], anchors), 3)[anchor])
            own = sorted((ranks[source], d) for d, ranks in free if ranks[source])
            expected, short = {d for _, d in own[:3]}, short + (len(own) < 3 <= len(free))
            drawn.add(source)
        assert set(row["doc_rows"]) == expected
        assert len(row["doc_rows"]) == len(expected)
        for d in expected:
            used[d] = used.get(d, 0) + 1
    assert ensemble == "intra" or (drawn == {0, 1, 2} and short > 0)
    assert cap is None or max(used.values()) == cap


@pytest.mark.parametrize("ensemble", ["cross", "intra"])
def test_rows_and_shares_say_which_sources_found_what_an_ensemble_took(
    base: Path, mined: Path, ensemble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = mine(base, f"said-{ensemble}", mined, ensemble=ensemble, fallback="random")
    names, ids = ("short", "bm25", "odd"), doc_ids(mined)
    found = {
        (row["query_id"], ids[d]): [names[n] for n in range(3) if row["source_ranks"][3 * i + n]]
        for row in rows(mined / "retrieve")
        for i, d in enumerate(row["doc_rows"])
    }  # fmt: skip
    lines = rows(out / "emit")
    for line in lines:
        by = found.get((line["query_id"], line["negative_id"]))
        assert line["source"] == ("+".join(by) if by else "random")
    told = report(out)["sources"]
    for name in (*names, "random"):
        count = sum(name in line["source"].split("+") for line in lines)
        assert told[name]["share"] == pytest.approx(count / len(lines))
    draw_report(json.loads((out / "report/report.json").read_text()), out)
    printed = " ".join("".join(capsys.readouterr()).split())
    assert all(f"{name} {told[name]['share']:.1%}" in printed.split("chosen from: ")[1] for name in names)


def test_the_line_on_shares_is_there_for_several_sources_alone() -> None:
    def one(share: float) -> dict[str, Any]:
        return {"negatives": round(share * 100), "share": share}

    base = {"random": one(0), "retrieved": one(1)}
    assert shares_line(base) == shares_line(base | {"dense": one(1)}) == ""
    assert shares_line(base | {"bm25": one(0.38), "dense": one(0.62)}) == "\nchosen from: dense 62.0%, bm25 38.0%\n"
    both = shares_line(base | {"bm25": one(0.5), "dense": one(0.75), "random": one(0.1)})
    assert both == "\nchosen from: dense 75.0%, bm25 50.0%, random 10.0%; what several found counts for each\n"


@pytest.mark.parametrize(("ensemble", "choose"), [("cross", "mixed"), ("cross", "diverse"), ("intra", "mixed")])
def test_an_ensemble_does_not_depend_on_shards(base: Path, mined: Path, ensemble: str, choose: str) -> None:
    emit = {"ensemble": ensemble, "choose": choose, "max_per_document": 5, "random_share": 0.34}
    one = mine(base, f"{ensemble}-{choose}", mined, **emit)
    run(config(base, f"{ensemble}-{choose}-512", shard_rows=512, emit={**EMIT, **emit},
               filter={**LOOSE, "rule": "percent", "percent": 1.0}))  # fmt: skip
    assert read_chosen(one / "emit").equals(read_chosen(base / f"{ensemble}-{choose}-512/emit"))
    assert rows(one / "emit") == rows(base / f"{ensemble}-{choose}-512/emit")


def test_an_ensemble_is_in_the_key_only_where_it_is_asked_for(base: Path, mined: Path) -> None:
    assert "ensemble" not in config(base).emit.semantic()
    states = {s["stage"]: s["state"] for s in make_plan(config(base, emit={"ensemble": "intra"}))["stages"]}
    assert states["filter"] == "done"
    assert states["emit"] == 'stale: emit.ensemble was null, now "intra"'


@pytest.mark.parametrize(
    ("source", "emit", "said"),
    [
        ([], {"ensemble": "cross"}, "emit.ensemble: 'cross' needs sources"),
        (ALL, {"ensemble": "intra", "choose": "simans"}, "emit.ensemble: \"intra\" .* emit.choose = 'simans'"),
        (ALL, {"ensemble": "intra", "choose": "diverse"}, 'set emit.choose to "top" or "mixed"'),
        (ALL, {"ensemble": "intra", "prefer_judged": True}, "emit.prefer_judged: emit.ensemble"),
        (ALL, {"ensemble": "cross", "num_negatives": 7}, "7 wanted, but no source finds more than 6"),
    ],
)
def test_ensembles_that_make_no_sense(base: Path, source: list[Any], emit: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(base, source=source, emit=emit)


def test_plan_says_which_source_is_too_short_for_an_ensemble(base: Path) -> None:
    plan = make_plan(config(base, emit={"ensemble": "cross", "num_negatives": 5}))
    assert plan["stages"][5]["work"].startswith("5 negatives, top (cross, 3 sources)")
    assert 'emit.ensemble is "cross", but odd finds fewer than the 5 negatives wanted' in plan["warnings"]
