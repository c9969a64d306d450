"""Settings, input files and models in which runs differ, from what their stages recorded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hnmine.config.section import toml_value
from hnmine.display import MISSING
from hnmine.pipeline.keys import flatten
from hnmine.pipeline.stages import STAGES

_RECORDED_ELSEWHERE = {
    "filter.top_k", "filter.num_negatives", "filter.retrieved_negatives", "filter.teacher_is_cosine",
    "index.exact_for_where",
}  # fmt: skip
"""Parts of a stage's key that follow from another table."""
_OF_MODELS = {"teacher": "embed.model", "guide_teacher": "guide.model", "rescore_model": "rescore.model"}
_OF_VECTORS = {
    f"{part}.{side}": f"{table}.{name}"
    for part, table in (("files", "embed"), ("guide_files", "guide"))
    for side, name in (("corpus", "corpus_vectors"), ("queries", "query_vectors"))
}
_LABELS = {
    f"input.{name}"
    for name in (
        "qrels", "judgements", "eval_qrels", "eval_split", "pairs", "relevant_from", "judged_positives", "split",
        "columns.relevance", "columns.split",
    )
}  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """A value that a run recorded.

    Attributes:
        kind: setting, file, model or version.
        content: equal for two runs if the value is the same; of files, the hashes of their content.
        shown: the value for people and for JSON.
    """

    kind: str
    content: Any
    shown: Any


def recorded_values(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Recorded]:
    """Return what determined a run, by the names of the config file, from the manifests of its stages, by stage.

    Names and places of files do not count, only their content. Where a run is given supplied vectors or a model, its
    files stand for `embed.corpus_vectors`, `embed.query_vectors` and `embed.model`.
    """
    found: dict[str, Recorded] = {}
    for stage in (stage for stage in STAGES if stage in manifests):
        found[f"version of the stage {stage}"] = Recorded("version", *[manifests[stage]["version"]] * 2)
        for name, value in flatten(manifests[stage]["parts"]):
            if f"{stage}.{name}" not in _RECORDED_ELSEWHERE:
                named, one = _named(stage, name, value)
                found.setdefault(named, one)
    return found


def _named(stage: str, name: str, value: Any) -> tuple[str, Recorded]:
    """Return a part of a stage's key by its name in the config file."""
    first, _, rest = name.partition(".")
    if first in _OF_MODELS:
        return _model(_OF_MODELS[first], rest, value)
    if first == "sources" and rest:  # of a source: its teacher, in embed; its index or file, in index
        label, _, part = rest.partition(".")
        part = part.removeprefix("settings.")
        table = f"retrieve.source.{label}"
        if part.startswith("teacher."):
            return _model(f"{table}.teacher.model", part.removeprefix("teacher."), value)
        name = f"{table}.{part}"
    elif first in ("sources", "where"):
        name = f"retrieve.{first.removesuffix('s') if first == 'sources' else first}"
    elif first == "documents":
        name = f"embed.{name}"
    elif stage == "ingest" and first == "files":
        name = f"input.{rest}"
    else:
        name = _OF_VECTORS.get(name, name)
    if isinstance(value, list) and value and all(isinstance(one, dict) and "blake2b" in one for one in value):
        return name, Recorded("file", [one["blake2b"] for one in value], ", ".join(map(_file, value)))
    return name, Recorded("setting", value, value)


def _model(name: str, part: str, value: Any) -> tuple[str, Recorded]:
    """Return what identifies a model: the hash of its files, or the name of one without files."""
    if part == "files_sha256":
        return name, Recorded("model", value, f"weights {value[:8]}")
    if part in ("encoder", "cross_encoder"):
        return f"{name}, kind", Recorded("model", value, value)
    return f"{name}, {part}", Recorded("model", value, value)


def _file(digest: Mapping[str, Any]) -> str:
    name = str(digest.get("file", "")).rpartition("/")[2]
    return f"{name} ({digest.get('bytes', 0):,} bytes, {digest['blake2b'][:8]})".lstrip()


def differing(runs: Sequence[Mapping[str, Recorded] | None]) -> list[dict[str, Any]]:
    """Return the values that are not the same in all runs, in the order of the stages.

    Args:
        runs: of each set, in order, the result of `recorded_values`; None for plain files, which do not count.

    Returns:
        for each value its `name`, its `kind` (setting, file, model or version), and its `values`, one per set; None for
        plain files, and where a run has no such value.
    """
    known = [run for run in runs if run is not None]
    found = []
    for name in dict.fromkeys(name for run in known for name in run):
        own = [run.get(name) for run in known]
        first = own[0]
        if any(one is None or first is None or one.content != first.content for one in own):
            kind = next(one.kind for one in own if one is not None)
            cells = [None if run is None else run.get(name) for run in runs]
            values = [None if cell is None else cell.shown for cell in cells]
            found.append({"name": name, "kind": kind, "values": values})
    return found


def value_text(value: Any) -> str:
    """Return one of the values of `differing` as a short text; a dash where a set has none."""
    return MISSING if value is None else value if isinstance(value, str) else toml_value(value)


def of_vectors(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the values in which runs differ that make other vectors; see `differing`."""
    names = [one["name"] for one in settings if one["kind"] != "version"]
    return [name for name in names if name.startswith("embed.") and not name.startswith("embed.documents.")]


def of_labels(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the values in which runs differ that make other labels; see `differing`."""
    return [one["name"] for one in settings if one["kind"] != "version" and one["name"] in _LABELS]


def consequences(settings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield which numbers cannot be compared because of the values in which runs differ; see `differing`."""
    names = [one["name"] for one in settings if one["kind"] != "version"]
    if vectors := of_vectors(settings):
        yield f"the runs' vectors differ ({', '.join(vectors)}): hardness, safety and eci_sem cannot be compared"
    if labels := of_labels(settings):
        yield f"the runs' labels differ ({', '.join(labels)}): false negatives are counted by other labels in each"
    if "emit.num_negatives" in names:
        yield "the runs want different numbers of negatives: capacity, eci and eci_sem grow with it"
