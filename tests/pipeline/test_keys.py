"""Keys change with what determines the output, and with nothing else; what changed is said in words."""

import os
import re
import shutil
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hnmine.config.models import SELECTION, EmbedConfig
from hnmine.config.retrieve import SourceConfig, WhereConfig
from hnmine.config.tables import Config
from hnmine.errors import InputError, ModelError
from hnmine.pipeline.keys import Expected, changes, expected_keys, flatten
from hnmine.pipeline.stages import STAGES
from hnmine.runtime.stage import RunContext, stage_of
from tests.support import config_for, make_collection, write_jsonl

# The teacher's files are hashed: where they come from does not matter, and no code of theirs runs while they are.
BY_FINGERPRINT = {"embed.revision", "embed.trust_remote_code"}
# conditions are held to by exact search alone, so they settle the kind of index too
FIRST_STAGE = {
    "input": "ingest",
    "seed": "retrieve",
    "guide": "embed",
    "retrieve.where": "index",
    "retrieve.max_top_k": "filter",
    "emit.num_negatives": "filter",  # in a deeper search they say whether a query has enough
}
APPLYING = {name: stage for name, stage in STAGES.items() if stage.applies(Config())}
OTHER: dict[str, Any] = {
    "memory": "2GB",
    "shard_rows": 256,
    "filter.ranks": (1, 5),
    "guide": EmbedConfig(model="hash", max_length=8),
    "retrieve.source": [SourceConfig(kind="dense")],
    "retrieve.where": [WhereConfig(field="lang")],
}
# that decide neither which documents there are nor which queries
LABELS_ONLY = {"input.unknown_ids", "input.judged_positives"}
# settings that mean something only beside another
BESIDE: dict[str, tuple[str, Any]] = {
    "emit.batch_by": ("emit.batch_size", 8),
    "emit.batch_leftover": ("emit.batch_size", 8),
    "embed.sample": ("embed.documents", "candidates"),
    "emit.max_relabelled": ("emit.relabel", 0.9),
    "emit.strata": ("emit.choose", "stratified"),
    "filter.check_percentile": ("filter.score", "checked"),
    "emit.focal_gamma": ("emit.extra_columns", ["focal_weight"]),
    "emit.focal_temperature": ("emit.extra_columns", ["focal_weight"]),
    "emit.clusters": ("emit.extra_columns", ["cluster_weight"]),
    "filter.multi_similarity": ("filter.rule", ["percent", "multi_similarity"]),
}


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    found = {}
    for name, field in model.model_fields.items():
        if is_model(field.annotation):
            found |= leaves(typing.cast(type[BaseModel], field.annotation), f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


FIELDS = leaves(Config)
PATHS = {f"input.{name}" for name in ("corpus", "queries", "qrels", "beir", "pairs", "judgements", "eval_qrels")}
PATHS |= {"embed.corpus_vectors", "embed.query_vectors"}
# of models that other programs compute: see test_command.py and tests/stages/embed/test_served.py
OF_PROGRAMS = {"embed.command", "embed.command_version", "embed.served_model"}
# tables that are a stage, or name a run, and files read by content: see test_rescore.py, test_remining.py and the tests
# of judged samples; settings of the stage hubs: see tests/stages/hubs
ELSEWHERE = {"embed.model", "rescore", "previous", "report.judged_sample", "judge.second"}
ELSEWHERE |= {"filter.hub_beta", "filter.hub_queries"}
PLAIN = sorted(FIELDS.keys() - PATHS - OF_PROGRAMS - ELSEWHERE)


def another(name: str, value: Any) -> Any:
    """Return a value of the same kind that is not `value`, within the field's limits or not."""
    kind = FIELDS[name].annotation
    options = [option for part in (kind, *typing.get_args(kind)) for option in typing.get_args(part)]
    names = [option for option in options if isinstance(option, str) and option != value]
    if name in OTHER:
        return OTHER[name]
    if names and not isinstance(value, list):
        return next(option for option in names if option not in ("calibrated", "auto"))
    if isinstance(value, bool) or (value is None and bool in typing.get_args(kind)):
        return not value
    if isinstance(value, list | dict):
        return names[:1] if isinstance(value, list) else {"eci": 0.5}
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return 3 if int in kinds else 0.5 if float in kinds else "x"


def value_of(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def with_value(config: Any, name: str, value: Any) -> Any:
    head, _, rest = name.partition(".")
    return config.model_copy(update={head: with_value(getattr(config, head), rest, value) if rest else value})


def keys(config: Config) -> Expected:
    return expected_keys(list(STAGES.values()), RunContext(config, Path("/nowhere")))


def changed(before: Expected, after: Expected) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name]["key"] != after[name]["key"]}


def downstream(stage: str, *unmoved: str) -> set[str]:
    """Return a stage and all that read it, or what reads it; `unmoved` are parts of its output that stay the same."""
    found = {stage}
    for name, other in APPLYING.items():
        if found & {stage_of(read) for read in other.reads if read not in unmoved}:
            found.add(name)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("keys"), 20, 5)


@pytest.fixture
def base(folder: Path) -> Config:
    return config_for(folder)


def test_every_setting_is_looked_at() -> None:
    assert len(PLAIN) > 40
    stages = {"input", "embed", "index", "retrieve", "filter", "emit", "report"}
    assert {name.split(".")[0] for name in FIELDS} >= stages
    assert FIELDS.keys() > BY_FINGERPRINT


@pytest.mark.parametrize("name", PLAIN)
def test_a_setting_changes_the_keys_that_it_should(base: Config, name: str) -> None:
    if name in BESIDE:
        base = with_value(base, *BESIDE[name])
    new = another(name, value_of(base, name))
    assert new != value_of(base, name)
    moved = changed(keys(base), keys(with_value(base, name, new)))
    extra = FIELDS[name].json_schema_extra
    assert isinstance(extra, dict)
    if extra["no_effect"] or name in BY_FINGERPRINT:
        assert moved == set()
        return
    head = name.split(".")[0]
    stage = FIRST_STAGE.get(name, FIRST_STAGE.get(head, head))
    assert stage in moved
    assert moved <= downstream(stage), "no stage before it changes"
    if stage != "report":
        unmoved = ("ingest.corpus", "ingest.queries") if name in LABELS_ONLY else ()
        assert moved == downstream(stage, *unmoved), "and all that read it do"


@pytest.mark.parametrize("name", sorted(EmbedConfig.model_fields))
def test_a_guides_setting_changes_the_keys_from_embed_on(base: Config, name: str) -> None:
    if name in ("model", "corpus_vectors", "query_vectors"):
        return  # by its files: see below
    if name in SELECTION:
        return  # [embed] alone has it
    if f"embed.{name}" in OF_PROGRAMS:
        return
    guided = base.model_copy(update={"guide": EmbedConfig(model="hash", max_length=16)})
    new = another(f"embed.{name}", getattr(guided.guide, name))
    moved = changed(keys(guided), keys(with_value(guided, f"guide.{name}", new)))
    extra = EmbedConfig.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    free = extra["no_effect"] or f"embed.{name}" in BY_FINGERPRINT
    assert moved == (set() if free else downstream("embed"))


def test_without_a_guide_its_words_are_in_no_key(base: Config) -> None:
    assert set(keys(base)["embed"]["parts"]) == {"embed", "teacher"}
    guided = keys(base.model_copy(update={"guide": EmbedConfig(model="hash", max_length=16)}))
    assert {k: guided["embed"]["parts"][k] for k in ("embed", "teacher")} == keys(base)["embed"]["parts"]
    assert set(guided["embed"]["parts"]) == {"embed", "teacher", "guide", "guide_teacher"}


def test_another_rule_reaches_the_seed(base: Config) -> None:
    assert changed(keys(base), keys(with_value(base, "filter.rule", "margin"))) == downstream("filter")


def test_no_effect_settings_are_the_ones_meant() -> None:
    free = {name for name, field in FIELDS.items() if field.json_schema_extra["no_effect"]}  # type: ignore[call-overload, index]
    must = PATHS | {
        "out",
        "shard_rows",
        "workers",
        "engine",
        "ray_address",
        "memory",
        "embed.batch_size",
        "embed.batch_tokens",
        "embed.device",
        "index.splits",
    }
    assert must <= free
    assert not free & {"seed", "filter.rule", "retrieve.top_k", "embed.query_prompt", "embed.max_length"}


def test_files_count_by_content_not_by_place(folder: Path, base: Config, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "moved")
    for file in (tmp_path / "moved").iterdir():
        os.utime(file, (1, 1))
    moved = config_for(tmp_path / "moved", out="elsewhere")
    assert keys(moved) == keys(base)
    absolute = {name: str(tmp_path / "moved" / Path(value_of(base.input, name))) for name in ("corpus", "queries")}
    assert keys(config_for(folder, input=absolute)) == keys(base)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_one_byte_of_any_file_changes_every_key_and_is_named(
    folder: Path, base: Config, tmp_path: Path, name: str
) -> None:
    shutil.copytree(folder, tmp_path / "new")
    file = tmp_path / "new" / name
    data = file.read_bytes()
    file.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    before, after = keys(base), keys(config_for(tmp_path / "new"))
    assert changed(before, after) == set(APPLYING)
    (line,) = changes(before["ingest"], after["ingest"])
    assert line.startswith(f"files.{name.split('.')[0]} was [")
    parts = ["ingest.queries"] if name != "corpus.jsonl" else ["ingest.corpus", "ingest.queries"]
    assert list(changes(before["embed"], after["embed"])) == [f"reads {', '.join(parts)}, which changed"]


@pytest.mark.parametrize("more", [{}, {"judged_positives": True}], ids=["beside the qrels", "as positives"])
def test_another_judgement_changes_the_keys_of_what_reads_it(
    folder: Path, base: Config, tmp_path: Path, more: dict[str, Any]
) -> None:
    found = [keys(config_for(folder, input=more))]
    shutil.copytree(folder, tmp_path / "new")
    for said in ("relevant", "unsure"):
        write_jsonl(tmp_path / "new/judge.jsonl", [{"query_id": "q0", "doc_id": "d0", "judgement": said}])
        found.append(keys(config_for(tmp_path / "new", input={"judgements": "judge.jsonl", **more})))
    concerned = set(APPLYING) if more else {"ingest", "filter", "emit", "report"}
    assert changed(found[0], found[1]) == changed(found[1], found[2]) == concerned
    by_words = {"documents": "candidates", "model": "hash"}, {"top_k": 10, "source": [{"kind": "bm25"}]}
    first, second = (
        keys(config_for(tmp_path / "new", input=given, embed=by_words[0], retrieve=by_words[1]))
        for given in ({"judgements": "judge.jsonl"}, {})
    )
    assert "embed" in changed(first, second), "documents that are judged are embedded"


def test_another_name_of_a_file_changes_no_key_and_another_format_does(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "new")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        (tmp_path / "new" / name).rename(tmp_path / "new" / f"my-{name}")
    names = {role: f"my-{role}.{'tsv' if role == 'qrels' else 'jsonl'}" for role in ("corpus", "queries", "qrels")}
    before, after = keys(config_for(folder)), keys(config_for(tmp_path / "new", input=names))
    assert changed(before, after) == set()
    (tmp_path / "new/my-qrels.tsv").rename(tmp_path / "new/my-qrels.csv")
    other = keys(config_for(tmp_path / "new", input={**names, "qrels": "my-qrels.csv"}))
    assert "ingest" in changed(before, other), "the same bytes are other rows"


def test_changes_name_the_files_that_differ(tmp_path: Path) -> None:
    make_collection(tmp_path, 3, 2)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus.jsonl").rename(tmp_path / "corpus/a.jsonl")
    write_jsonl(tmp_path / "corpus/b.jsonl", [{"doc_id": "x", "text": "x"}])
    before = keys(config_for(tmp_path, input={"corpus": "corpus"}))
    (tmp_path / "corpus/a.jsonl").rename(tmp_path / "corpus/renamed.jsonl")
    swapped = keys(config_for(tmp_path, input={"corpus": "corpus"}))
    (line,) = changes(before["ingest"], swapped["ingest"])
    assert re.fullmatch(
        r"files\.corpus was \[a\.jsonl \([\d,]+ bytes, [0-9a-f]{8}\), b\.jsonl \(.*\)\], "
        r"now \[b\.jsonl \(.*\), renamed\.jsonl \(.*\)\]", line
    )  # fmt: skip
    (tmp_path / "corpus/renamed.jsonl").rename(tmp_path / "corpus/a.jsonl")
    write_jsonl(tmp_path / "corpus/b.jsonl", [{"doc_id": "x", "text": "y"}])
    (line,) = changes(before["ingest"], keys(config_for(tmp_path, input={"corpus": "corpus"}))["ingest"])
    assert re.fullmatch(
        r"files\.corpus was \[b\.jsonl \(29 bytes, [0-9a-f]{8}\), 1 as before\], "
        r"now \[b\.jsonl \(29 bytes, [0-9a-f]{8}\), 1 as before\]", line
    )  # fmt: skip


def test_a_run_of_another_version_says_so(base: Config) -> None:
    now = keys(base)["ingest"]
    old = {**now, "version": now["version"] - 1, "key": "other"}
    assert list(changes(old, now)) == ["written by another version of hnmine"]


def test_a_missing_file_is_said_before_anything_is_made(tmp_path: Path) -> None:
    make_collection(tmp_path, 3, 2)
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"^input\.corpus: corpus\.jsonl: no such file$"):
        keys(config_for(tmp_path))


def test_the_order_of_files_counts(tmp_path: Path) -> None:
    make_collection(tmp_path, 3, 2)
    write_jsonl(tmp_path / "more.jsonl", [{"doc_id": "x", "text": "x"}])
    first, second = (
        keys(config_for(tmp_path, input={"corpus": files}))
        for files in (["corpus.jsonl", "more.jsonl"], ["more.jsonl", "corpus.jsonl"])
    )
    assert first["ingest"]["key"] != second["ingest"]["key"]


def teacher(folder: Path, weights: bytes = b"1", **files: bytes) -> str:
    folder.mkdir()
    for name, data in {"model.safetensors": weights, "config.json": b"{}", **files}.items():
        (folder / name).write_bytes(data)
    return str(folder)


def test_a_teacher_counts_by_its_files(folder: Path, tmp_path: Path) -> None:
    def of(model: str) -> Expected:
        return keys(config_for(folder, embed={"model": model}))

    first = of(teacher(tmp_path / "a"))
    assert of(teacher(tmp_path / "b", **{"README.md": b"its card", ".cache": b"x"})) == first
    assert changed(first, of(teacher(tmp_path / "c", weights=b"2"))) == downstream("embed")
    assert changed(first, of(teacher(tmp_path / "d", **{"1_Pooling.json": b"{}"}))) == downstream("embed")
    assert changed(first, of(teacher(tmp_path / "e", **{"vocab.txt": b""}))) == downstream("embed")
    (line,) = changes(first["embed"], of(str(tmp_path / "c"))["embed"])
    assert line.startswith("teacher.files_sha256 was ")


def test_a_guide_counts_by_its_files(folder: Path, tmp_path: Path) -> None:
    def of(model: str) -> Expected:
        return keys(config_for(folder, guide={"model": model}))

    first = of(teacher(tmp_path / "a"))
    assert of(teacher(tmp_path / "b", **{"README.md": b"its card"})) == first
    second = of(teacher(tmp_path / "c", weights=b"2"))
    assert changed(first, second) == downstream("embed")
    (line,) = changes(first["embed"], second["embed"])
    assert line.startswith("guide_teacher.files_sha256 was ")
    with pytest.raises(ModelError, match=r"^guide\.model: no folder /no/such$"):
        of("/no/such")


def test_a_teacher_of_pickles_or_of_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    teacher(tmp_path / "a", **{"pytorch_model.bin": b""})
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: weights must be in safetensors"):
        keys(config_for(folder, embed={"model": str(tmp_path / "a")}))
    with pytest.raises(ModelError, match=r"embed\.model: no folder .*/nothing$"):
        keys(config_for(folder, embed={"model": "./nothing"}))


def test_a_local_teacher_is_looked_for_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_collection(tmp_path / "conf", 3, 2)
    teacher(tmp_path / "conf" / "mine")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    here = keys(config_for(tmp_path / "conf", embed={"model": "./mine"}))
    assert here == keys(config_for(tmp_path / "conf", embed={"model": str(tmp_path / "conf" / "mine")}))


def test_changes_name_settings_with_both_values(base: Config) -> None:
    new = with_value(with_value(base, "filter.percent", 0.9), "filter.rule", ["margin", "percent"])
    assert list(changes(keys(base)["filter"], keys(new)["filter"])) == [
        "filter.percent was 0.95, now 0.9",
        'filter.rule was "percent", now ["margin", "percent"]',
    ]


def test_changes_of_what_was_not_there_of_long_values_and_of_versions() -> None:
    old = {"parts": {"a": {"b": 1}, "long": "x" * 100}, "upstream": {"ingest": "1"}}
    new = {"parts": {"a": {"c": 2}, "long": "y" * 100}, "upstream": {"ingest": "2"}}
    assert list(changes(old, new)) == [
        "a.b was 1, now null",
        "a.c was null, now 2",
        'long was "' + "x" * 23 + "..." + "x" * 7 + '", now "' + "y" * 23 + "..." + "y" * 7 + '"',
    ]
    assert list(changes({**old, "parts": {}}, {**new, "parts": {}})) == ["reads ingest, which changed"]
    assert list(changes(old, old)) == ["written by another version of hnmine"]


def test_flatten() -> None:
    nested = {"a": 1, "b": {"c": [1], "d": {"e": None}}}
    assert dict(flatten(nested)) == {"a": 1, "b.c": [1], "b.d.e": None}
