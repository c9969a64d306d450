"""Bad files are found early: by `hnmine plan`, and by `hnmine run` before a model is loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hnmine.cli.app import app
from hnmine.commands.plan.plan import make_plan
from hnmine.config.tables import Config
from hnmine.errors import HnmineError, InputError
from hnmine.models import encoders
from hnmine.pipeline.run import run
from tests.support import config_for, make_collection


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_collection(tmp_path, documents=60, queries=20)


def bad(base: Path, name: str, text: str) -> str:
    (base / name).write_text(text)
    return name


def vectors(base: Path, name: str, kind: str, dim: int, count: int) -> str:
    rows = np.ones((count, dim), dtype=np.float32)
    ids = [f"{kind[0]}{row}" for row in range(count)]
    table = pa.table({f"{kind}_id": ids, "vector": list(rows)})
    pq.write_table(table, base / name)
    return name


INPUT_FAULTS: dict[str, tuple[str, str, str]] = {  # what is wrong: the setting, the file's text, the message
    "no text": ("corpus", '{"doc_id": "d0", "body_text": "a"}', "no column for text"),
    "not JSON": ("corpus", "{", "not valid JSON"),
    "empty": ("corpus", "", "the file is empty"),
    "an id that is none": ("corpus", '{"doc_id": [1], "text": "a"}', "a document id expected"),
    "no query id": ("queries", '{"query": "a"}', "no column for query_id"),
    "a relevance that is none": ("qrels", '{"query_id": "q0", "doc_id": "d0", "relevance": "x"}', "a whole relevance"),
    "a judgement that is none": (
        "judgements", '{"query_id": "q0", "doc_id": "d0", "judgement": "perhaps"}', "'perhaps'"
    ),
    "no judgement": ("judgements", '{"query_id": "q0", "doc_id": "d0"}', "no field judgement"),
}  # fmt: skip


@pytest.mark.parametrize("fault", INPUT_FAULTS)
def test_plan_says_of_a_bad_input_what_ingest_says(fault: str, base: Path) -> None:
    role, text, message = INPUT_FAULTS[fault]
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
    config = config_for(base, input=names | {role: bad(base, "bad.jsonl", text + "\n")})
    with pytest.raises(InputError) as planned:
        make_plan(config)
    with pytest.raises(InputError) as ingested:
        run(config, ["ingest"])
    [line] = [line for line in str(planned.value).splitlines() if "bad.jsonl" in line]
    assert message in line
    assert line in str(ingested.value).splitlines()


def test_plan_exits_as_run_does_and_names_the_faults_of_all_files(base: Path) -> None:
    faults = {
        "corpus": '{"doc_id": "d0", "words": "a"}', "queries": '{"query": "a"}', "qrels": '{"query_id": "q0"}',
    }  # fmt: skip
    names = {role: bad(base, f"{role}-bad.jsonl", text) for role, text in faults.items()}
    run_file = bad(base, "bm25.run", "q0 d0 only four\n")
    lines = ["[input]", *(f'{role} = "{name}"' for role, name in names.items()), "[embed]", 'model = "hash"']
    lines += ["[[retrieve.source]]", 'kind = "dense"', "[[retrieve.source]]", 'kind = "run"', f'path = "{run_file}"']
    (base / "mine.toml").write_text("\n".join(lines))
    for command in ("plan", "run"):
        error = CliRunner().invoke(app, [command, str(base / "mine.toml")]).exception
        assert isinstance(error, InputError)
        assert error.exit_code == 3
        for name in [*names.values(), run_file]:
            assert f"{name}" in str(error), (command, name)


def late_faults(base: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Return, by what is wrong, tables of a config with a file that a stage after ingest reads, and the message."""
    good, wrong = (vectors(base, f"{dim}.parquet", "doc", dim, 60) for dim in (4, 5))
    asked = vectors(base, "asked.parquet", "query", 4, 20)
    pq.write_table(pa.table({"vector": [[1.0]]}), base / "no-id.parquet")

    def ready(corpus: Any, queries: str = asked) -> dict[str, Any]:
        return {"model": "precomputed", "corpus_vectors": corpus, "query_vectors": queries}

    def source(name: str, text: str) -> dict[str, Any]:
        return {"retrieve": {"source": [{"kind": "dense"}, {"kind": "run", "path": bad(base, name, text)}]}}

    return {
        "run": (source("bm25.run", "q0 Q0 d0 first 1.0 bm25\n"), "a TREC run has query"),
        "empty run": (source("empty.run", "\n"), "the file holds no result"),
        "guide": ({"guide": ready(wrong), "filter": {"rule": "guide"}}, "5 numbers, but"),
        "vectors of two dimensions": ({"embed": ready([good, wrong])}, "vector files differ in dimension: 4, 5"),
        "vectors without ids": ({"embed": ready("no-id.parquet")}, "an id column is missing"),
        "no vectors": ({"embed": ready(bad(base, "none.npy", "text"))}, "not a readable .npy file"),
    }


LATE = ["run", "empty run", "guide", "vectors of two dimensions", "vectors without ids", "no vectors"]


@pytest.mark.parametrize("fault", LATE)
@pytest.mark.parametrize("ingested", [False, True])
def test_a_bad_file_of_a_later_stage_is_found_before_a_model_is_loaded(
    fault: str, ingested: bool, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, message = late_faults(base)[fault]
    config = config_for(base, **tables)
    if ingested:
        run(config, ["ingest"])
    loaded: list[Config] = []
    monkeypatch.setattr(encoders, "make_encoder", lambda *given, **more: loaded.append(config))
    monkeypatch.setattr("hnmine.stages.embed.step.make_encoder", lambda *given, **more: loaded.append(config))
    for begin in (run, make_plan):
        with pytest.raises(InputError, match=message):
            begin(config)
    assert not loaded
    assert not (config.out_folder / "embed" / "corpus").exists()
    assert (config.out_folder / "ingest" / "_manifest.json").exists() == ingested


def test_a_bad_value_of_a_condition_is_found_by_ingest(base: Path) -> None:
    for name, value in (("corpus", "soon"), ("queries", "2024-01-01")):
        path = base / f"{name}.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("\n".join(json.dumps(record | {"day": value}) for record in records))
    config = config_for(base, retrieve={"where": [{"field": "day", "must": "before", "query_field": "day"}]})
    for begin in (make_plan, lambda config: run(config, ["ingest"])):
        with pytest.raises(InputError, match=r"day: numbers or ISO dates.*'soon'"):
            begin(config)


def test_the_faults_of_input_and_of_later_files_are_named_together(base: Path) -> None:
    tables, message = late_faults(base)["run"]
    names = {"queries": "queries.jsonl", "qrels": "qrels.tsv", "corpus": bad(base, "bad.jsonl", '{"doc_id": "d0"}\n')}
    with pytest.raises(InputError, match="no column for text") as raised:
        run(config_for(base, input=names, **tables))
    assert message in str(raised.value)


def test_plan_refuses_a_previous_run_that_is_not_there(base: Path) -> None:
    (base / "nothing").mkdir()
    config = config_for(base, previous={"run": str(base / "nothing")})
    with pytest.raises(HnmineError) as planned:
        make_plan(config)
    with pytest.raises(HnmineError) as done:
        run(config)
    assert (type(planned.value), str(planned.value)) == (type(done.value), str(done.value))


def test_plan_for_a_collection_that_is_not_there_yet_opens_no_file(tmp_path: Path) -> None:
    from hnmine.commands.plan.cluster import ClusterConfig, CollectionTable

    cluster = ClusterConfig(collection=CollectionTable(documents=5000, queries=300))
    assert make_plan(config_for(tmp_path / "nowhere"), None, cluster)["documents"] == 5000
