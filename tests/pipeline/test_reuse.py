"""What is there already: reused where it fits, refused with what changed where it does not, never lost."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hnmine import load_config, run
from hnmine.config.tables import Config
from hnmine.errors import IncompleteStage, InputError, LockedOutput, OutputError, StaleOutput
from hnmine.pipeline.run import RunOptions
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import stage_of
from hnmine.storage.lock import lock_folder
from tests.support import RUN_SPECIFIC, config_for, make_collection, tree, write_jsonl

ALL = [name for name, stage in STAGES.items() if stage.applies(Config())]
OVERWRITE = RunOptions(overwrite=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    make_collection(tmp_path)
    run(config_for(tmp_path))
    return tmp_path


def ran(base: Path, out: str = "out", options: RunOptions | None = None, **tables: Any) -> list[str]:
    """Run, and return the stages that had to."""
    return [result.stage for result in run(config_for(base, out, **tables), options=options) if result.ran]


def test_a_source_without_a_finished_stage_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "mistyped"):
        with pytest.raises(InputError, match=f"{name}: no such folder, or it holds no finished stage of a run"):
            ran(base, "other", RunOptions(source=tmp_path / name))
    assert not (base / "other").exists()


def identity(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of every file: the same only where it was not written again."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in RUN_SPECIFIC]
    return {path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def add_a_word(base: Path) -> None:
    file = base / "corpus.jsonl"
    file.write_text(file.read_text().replace(' 59"', ' 5x"'))


def add_a_judgement(base: Path) -> None:
    with (base / "qrels.tsv").open("a") as file:
        file.write("q0\td7\t0\n")


def add_a_positive(base: Path) -> None:
    with (base / "qrels.tsv").open("a") as file:
        file.write("q0\td7\t1\n")


def drop_a_query(base: Path) -> None:
    lines = (base / "qrels.tsv").read_text().splitlines(keepends=True)
    (base / "qrels.tsv").write_text("".join(line for line in lines if not line.startswith("q0\t")))


def judge(base: Path) -> None:
    write_jsonl(base / "judge.jsonl", [{"query_id": "q0", "doc_id": "d7", "judgement": "irrelevant"}])


def nothing(base: Path) -> None:
    pass


VECTORS = {"embed/corpus", "embed/queries"}
"""Vectors of texts that are the same as before: the shards stay, while the stage is made anew around them."""
CHANGES: list[tuple[str, Callable[[Path], None], dict[str, Any], str, str, set[str]]] = [
    ("percent", nothing, {"filter": {"percent": 0.9}}, "filter", "filter: filter.percent was 0.95, now 0.9", set()),
    ("top_k", nothing, {"retrieve": {"top_k": 9}}, "retrieve", "retrieve: retrieve.top_k was 10, now 9", set()),
    ("kind", nothing, {"index": {"kind": "hnsw"}}, "index", 'index: index.kind was "auto", now "hnsw"', set()),
    ("format", nothing, {"emit": {"format": "bge"}}, "emit", 'emit: emit.format was "triplet", now "bge"', set()),
    ("seed", nothing, {"seed": 1}, "retrieve", "retrieve: seed was 0, now 1", set()),
    ("dtype", nothing, {"embed": {"dtype": "float16"}}, "embed", 'embed.dtype was "float32", now "float16"', set()),
    (
        "quantile",
        nothing,
        {"filter": {"bad_positive_quantile": 0.2}},
        "filter",
        "positive_quantile was 0.5, now 0.2",
        set(),
    ),
    (
        "relevance",
        nothing,
        {"input": {"relevant_from": 0}},
        "ingest",
        "ingest: input.relevant_from was 1, now 0",
        VECTORS,
    ),
    ("corpus", add_a_word, {}, "ingest", "ingest: files.corpus was ", {"embed/queries"}),
    ("fewer queries", drop_a_query, {}, "ingest", "ingest: files.qrels was ", {"embed/corpus"}),
    ("qrels", add_a_judgement, {}, "ingest", "ingest: files.qrels was ", VECTORS),
    ("positive", add_a_positive, {}, "ingest", "ingest: files.qrels was ", VECTORS),
    (
        "judgement",
        judge,
        {"input": {"judgements": "judge.jsonl"}},
        "ingest",
        "ingest: files.judgements was null, now [",
        {"embed", "index", "retrieve"},
    ),
]


@pytest.mark.parametrize(
    ("change", "tables", "stage", "message", "spared"),
    [case[1:] for case in CHANGES],
    ids=[case[0] for case in CHANGES],
)
def test_a_change_is_refused_and_overwrite_does_only_what_it_concerns(
    base: Path, change: Callable[[Path], None], tables: dict[str, Any], stage: str, message: str, spared: set[str]
) -> None:
    change(base)
    before = identity(base / "out")
    with pytest.raises(StaleOutput) as caught:
        run(config_for(base, **tables))
    assert message in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert identity(base / "out") == before
    concerned = [name for name in ALL[ALL.index(stage) :] if name not in spared]
    assert ran(base, options=OVERWRITE, **tables) == concerned
    after = identity(base / "out")
    kept = [name for name in before if name.partition("/")[0] not in concerned or name.startswith((*spared, "-"))]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert not before.items() & {name: after[name] for name in after if name not in kept}.items()
    run(config_for(base, "fresh", **tables))
    assert tree(base / "out") == tree(base / "fresh")
    assert ran(base, **tables) == []


def test_the_message_names_settings_and_not_the_stages_that_only_follow(base: Path) -> None:
    with pytest.raises(StaleOutput) as caught:
        run(config_for(base, filter={"percent": 0.9, "anchor": "min"}))
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        '  filter: filter.anchor was "each", now "min"',
        "  filter: filter.percent was 0.95, now 0.9",
        "  emit: reads filter, which changed",
        "  report: reads filter, emit, which changed",
        "pass --overwrite to recompute filter, emit, report; "
        f"or choose another --out, with --from {base / 'out'} to reuse what still fits",
    ]


def test_settings_without_effect_change_nothing(base: Path) -> None:
    before = identity(base / "out")
    tables = {
        "workers": 2,
        "shard_rows": 256,
        "memory": "1MB",
        "embed": {"batch_size": 7, "batch_tokens": 99, "device": "cpu"},
    }
    assert ran(base, report={"fail_under": {"eci": 0.1}}, **tables) == []
    assert identity(base / "out") == before


def test_a_moved_folder_and_moved_inputs_are_reused(base: Path) -> None:
    moved = base.parent / f"{base.name}-moved"
    base.rename(moved)
    assert ran(moved) == []


def test_another_run_serves_what_fits(base: Path) -> None:
    before = identity(base / "out")
    tables = {"filter": {"percent": 0.9}}
    options = RunOptions(source=base / "out")
    assert ran(base, "next", options, **tables) == ["filter", "emit", "report"]
    assert sorted(path.name for path in (base / "next").iterdir() if path.is_dir()) == ["emit", "filter", "report"]
    assert identity(base / "out") == before
    run(config_for(base, "fresh", **tables))
    fresh = tree(base / "fresh")
    assert tree(base / "next") == {name: fresh[name] for name in fresh if name.startswith(("filter", "emit", "report"))}
    assert ran(base, "next", options, **tables) == []
    with pytest.raises(StaleOutput, match=r"filter\.percent was 0\.9, now 0\.8"):
        run(config_for(base, "next", filter={"percent": 0.8}), options=options)


def test_another_run_with_other_inputs_serves_nothing(base: Path) -> None:
    add_a_word(base)
    assert ran(base, "next", RunOptions(source=base / "out")) == ALL


def test_another_run_serves_vectors_and_candidates_where_a_judgement_is_new(base: Path) -> None:
    judge(base)
    tables = {"input": {"judgements": "judge.jsonl"}}
    assert ran(base, "next", RunOptions(source=base / "out"), **tables) == ["ingest", "filter", "emit", "report"]
    run(config_for(base, "fresh", **tables))
    fresh = tree(base / "fresh")
    assert tree(base / "next") == {name: fresh[name] for name in fresh if not name.startswith(("embed", "ind", "retr"))}


def test_another_run_that_is_not_finished_serves_its_finished_stages(base: Path) -> None:
    (base / "out/retrieve/_manifest.json").unlink()
    assert ran(base, "next", RunOptions(source=base / "out")) == ["retrieve"]


def test_single_stages_over_another_run(base: Path) -> None:
    options = RunOptions(source=base / "out")
    config = config_for(base, "next", emit={"format": "bge"})
    assert [result.ran for result in run(config, ["emit"], options)] == [True]
    with pytest.raises(StaleOutput, match=r"filter\.percent was 0\.95, now 0\.9"):
        run(config_for(base, "other", filter={"percent": 0.9}), ["emit"], options)


@pytest.mark.parametrize("stage", ["embed", "retrieve", "filter", "emit", "report"])
def test_a_stage_whose_input_is_not_there(tmp_path: Path, stage: str) -> None:
    config = config_for(make_collection(tmp_path))
    with pytest.raises(IncompleteStage, match="run `hnmine ingest` first"):
        run(config, [stage])
    run(config)
    for upstream in dict.fromkeys(map(stage_of, STAGES[stage].reads)):
        manifest = tmp_path / "out" / upstream / "_manifest.json"
        kept = manifest.read_bytes()
        manifest.unlink()
        with pytest.raises(IncompleteStage, match=f"{upstream} is not complete; run `hnmine {upstream}` first"):
            run(config, [stage])
        manifest.write_bytes(kept)


def test_stages_one_by_one_are_the_whole_run(base: Path) -> None:
    for stage in ALL:
        assert [result.stage for result in run(config_for(base, "steps"), [stage])] == [stage]
    assert tree(base / "steps") == tree(base / "out")


def test_a_stage_read_under_other_settings_is_refused_by_itself(base: Path) -> None:
    with pytest.raises(
        StaleOutput, match=r"retrieve: retrieve\.top_k was 10, now 9\nrun `hnmine retrieve --overwrite`"
    ):
        run(config_for(base, retrieve={"top_k": 9}), ["filter"])


@pytest.mark.parametrize("options", [None, OVERWRITE])
@pytest.mark.parametrize("name", ["emit/notes.txt", "report/deep/down/x.parquet", "ingest/corpus/part-00000.parquet"])
def test_files_of_others_are_refused_and_stay(tmp_path: Path, name: str, options: RunOptions | None) -> None:
    config = config_for(make_collection(tmp_path))
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    with pytest.raises(OutputError, match="holds files that hnmine did not write; choose another --out"):
        run(config, options=options)
    assert [path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()] in (
        [f"out/{name}", "out/.lock"],
        ["out/.lock", f"out/{name}"],
    )
    assert file.read_bytes() == b"mine"


def test_files_beside_the_stages_are_left_alone(base: Path) -> None:
    (base / "out/notes").mkdir()
    (base / "out/notes/part-00000.parquet").write_bytes(b"mine")
    (base / "out/notes.txt").write_text("mine")
    assert ran(base, options=OVERWRITE, filter={"percent": 0.9}) == ["filter", "emit", "report"]
    assert (base / "out/notes/part-00000.parquet").read_bytes() == b"mine"
    assert (base / "out/notes.txt").read_text() == "mine"


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    make_collection(tmp_path)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="cannot be used as an output folder"):
        run(config_for(tmp_path))
    assert (tmp_path / "out").read_text() == "mine"


def test_a_truncated_shard_is_made_again(base: Path) -> None:
    before = tree(base / "out")
    shard = base / "out/retrieve/part-00000.parquet"
    with shard.open("r+b") as file:
        file.truncate(200)
    (base / "out/retrieve/_manifest.json").unlink()
    assert ran(base) == ["retrieve"]
    assert tree(base / "out") == before


def test_an_overwrite_that_dies_while_it_removes_is_resumed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage's own notes may be the first thing gone; what is left must not pass for somebody else's files."""
    removed = shutil.rmtree

    class Died(BaseException):
        pass

    def die_halfway(folder: Path, *args: Any, **kwargs: Any) -> None:
        for name in ("_manifest.json", "_started.json"):
            (Path(folder) / name).unlink()
        raise Died

    monkeypatch.setattr("shutil.rmtree", die_halfway)
    with pytest.raises(Died):
        run(config_for(base, filter={"percent": 0.9}), options=OVERWRITE)
    monkeypatch.setattr("shutil.rmtree", removed)
    run(config_for(base, filter={"percent": 0.9}), options=OVERWRITE)
    run(config_for(base, "fresh", filter={"percent": 0.9}))
    assert tree(base / "out") == tree(base / "fresh")
    assert not list((base / "out").glob(".tmp-*"))


@pytest.mark.parametrize("when", ["removing", "embedding"])
def test_vectors_that_stay_survive_a_stop_and_never_serve_other_texts(
    base: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Two changes after each other, the first stopped half-way: what stays is judged by its own key alone."""

    class Died(BaseException):
        pass

    def die(*args: Any, **kwargs: Any) -> None:
        raise Died

    drop_a_query(base)
    corpus = {name: value for name, value in identity(base / "out").items() if name.startswith("embed/corpus/")}
    stops = {"removing": "hnmine.storage.store.map_paths", "embedding": "hnmine.stages.embed.step.check_vectors"}
    with monkeypatch.context() as patch:
        patch.setattr(stops[when], die)
        with pytest.raises(Died):
            run(config_for(base), options=OVERWRITE)
    run(config_for(base), options=OVERWRITE)
    assert corpus.items() <= identity(base / "out").items()
    run(config_for(base, "fresh"))
    assert tree(base / "out") == tree(base / "fresh")
    (base / "queries.jsonl").write_text((base / "queries.jsonl").read_text().replace("amber", "umber"))
    add_a_word(base)
    run(config_for(base), options=OVERWRITE)
    run(config_for(base, "fresh2"))
    assert tree(base / "out") == tree(base / "fresh2")


def test_a_teacher_that_is_added_leaves_the_other_teachers_vectors(base: Path) -> None:
    before = identity(base / "out/embed/corpus")
    tables = {"guide": {"model": "hash", "max_length": 8}}
    assert "embed" in ran(base, options=OVERWRITE, **tables)
    assert identity(base / "out/embed/corpus") == before
    run(config_for(base, "fresh", **tables))
    assert tree(base / "out") == tree(base / "fresh")
    assert "embed" in ran(base, options=OVERWRITE)
    assert not (base / "out/embed/guide-corpus").exists()


def test_a_renamed_input_file_recomputes_nothing(base: Path) -> None:
    (base / "corpus.jsonl").rename(base / "documents.jsonl")
    assert ran(base, input={"corpus": "documents.jsonl"}) == []


def test_a_folder_in_use_is_refused(base: Path) -> None:
    with lock_folder(base / "out"), pytest.raises(LockedOutput, match=f"process {os.getpid()} on "):
        run(config_for(base))


def test_a_refused_input_leaves_nothing_that_a_corrected_one_would_meet(tmp_path: Path) -> None:
    make_collection(tmp_path)
    good = (tmp_path / "qrels.tsv").read_text()
    (tmp_path / "qrels.tsv").write_text(good + "q0\tnowhere\t1\n")
    with pytest.raises(Exception, match="'nowhere'"):
        run(config_for(tmp_path))
    (tmp_path / "qrels.tsv").write_text(good)
    assert ran(tmp_path) == ALL


def test_the_config_file_is_the_same_door(base: Path) -> None:
    (base / "hnmine.toml").write_text(
        'out = "out"\n[input]\ncorpus = "corpus.jsonl"\nqueries = "queries.jsonl"\nqrels = "qrels.tsv"\n'
        '[embed]\nmodel = "hash"\n[retrieve]\ntop_k = 10\n[filter]\nrule = "percent"\n[emit]\nnum_negatives = 3\n'
        "[report]\nhtml = false\n"
    )
    assert [result.ran for result in run(load_config(base / "hnmine.toml"))] == [False] * 7
    with pytest.raises(StaleOutput):
        run(load_config(base / "hnmine.toml", ("filter.percent=0.5",)))
    manifest = json.loads((base / "out/filter/_manifest.json").read_text())
    assert manifest["parts"]["filter"]["percent"] == 0.95
