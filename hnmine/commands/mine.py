"""`hnmine mine`: the config of a run from a few options, written beside the run's output."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, TypeGuard

from hnmine.commands.init import absolute, starter
from hnmine.commands.recipes import recipe_settings
from hnmine.config.checks import NOTHING_TO_READ
from hnmine.config.file import check_config, load_config, override
from hnmine.config.tables import Config
from hnmine.errors import ConfigError, HnmineError, InputError, ModelError, Problems, StaleOutput
from hnmine.models.model_files import find_model
from hnmine.pipeline.keys import changes
from hnmine.pipeline.stages import STAGES
from hnmine.readers.collection import check_files
from hnmine.storage.store import STARTED, write_text

CONFIG_FILE = "hnmine.toml"
"""The config beside the output, in the output folder."""
_COMMAND = "mine"
"""Where a wrong setting is, in messages."""
PATHS = {
    "corpus", "queries", "qrels", "beir", "pairs", "judgements", "judged_sample", "eval_qrels",
    "corpus_vectors", "query_vectors", "path", "run",
}  # fmt: skip
"""The settings that are paths of files or folders, by their key. Here they start at the working directory."""


@dataclass(frozen=True)
class MineRequest:
    """What `hnmine mine` was asked for; None and () leave a setting at its default.

    Attributes:
        pairs: files of pairs.
        beir: a BEIR folder, in place of pairs.
        out: the output folder.
        corpus: files of more documents.
        model: name or local path of the model.
        rules: `filter.rule`; several must all keep a candidate.
        formats: `emit.format`.
        num_negatives: `emit.num_negatives`.
        recipe: name of a recipe, whose settings the other options change.
        prompts: `embed.query_prompt` and `embed.document_prompt`.
        overrides: values of --set, which go before all others.
    """

    pairs: Sequence[str]
    beir: str | None = None
    out: str = "runs/first"
    corpus: Sequence[str] = ()
    model: str | None = None
    rules: Sequence[str] = ()
    formats: Sequence[str] = ()
    num_negatives: int | None = None
    recipe: str | None = None
    prompts: Mapping[str, str | None] = field(default_factory=dict)
    overrides: Sequence[str] = ()


@dataclass(frozen=True)
class Mining:
    """A config to run, its file, and the text to write there: None if the file has these settings already."""

    config: Config
    path: Path
    text: str | None


def prepare(request: MineRequest, *, overwrite: bool = False) -> Mining:
    """Return the config that a request asks for, checked together with its input files and its model.

    Args:
        request: the options.
        overwrite: replace a config in the output folder that has other settings, instead of refusing.

    Raises:
        ConfigError: wrong options, together with all other problems found.
        InputError: files that are missing or lack columns, together with a missing model.
        ModelError: a local model that does not exist.
        StaleOutput: the output folder has a config with other settings.
    """
    problems = Problems()
    given = _settings(request, problems)
    if not request.out.strip():  # such as that of a variable that is not set
        problems.add(f"{_COMMAND}: --out: an empty path")
    if "://" in request.out:
        problems.add(
            f"{_COMMAND}: --out {request.out}: the config is written there, so it must be a folder of this machine; "
            "for another place write a config with `hnmine init` and run it with --out"
        )
    folder = Path(request.out).expanduser().absolute()
    path = folder / CONFIG_FILE
    config = _checked(given, folder, problems).at(folder, str(path))
    if path.exists():
        differences = _differences(path, config)
        if not differences:
            return Mining(config, path, None)
        if not overwrite:
            raise StaleOutput(
                f"{path} has other settings:\n{differences}\nrun `hnmine run {quote(str(path))}` to use it as it is; "
                "pass --overwrite to replace it and recompute what changed; or choose another --out"
            )
    return Mining(config, path, starter(given, request.recipe))


@contextmanager
def written(mining: Mining) -> Iterator[Config]:
    """Yield the config with its file written; if the run fails before it writes any result, the file is as before."""
    if mining.text is None:
        yield mining.config
        return
    before, results = _read(mining.path), _results(mining.path.parent)
    write_text(mining.text, mining.path)
    try:
        yield mining.config
    except HnmineError:
        if _results(mining.path.parent) == results:
            mining.path.unlink()
            if before is not None:
                write_text(before, mining.path)
        raise


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _results(out: Path) -> set[tuple[Path, int]]:
    """Return the files that stages have written to an output folder, with the times of their last change."""
    files = (path for stage in STAGES for path in (out / stage).rglob("*") if path.is_file() and path.name != STARTED)
    return {(path, path.stat().st_mtime_ns) for path in files}


def _settings(request: MineRequest, problems: Problems) -> dict[str, Any]:
    """Return the settings of a request, as nested mappings with absolute paths."""
    _check_files(request, problems)
    source = {"beir": request.beir} if request.beir else {"pairs": _one_or_list(request.pairs)}
    found: dict[str, dict[str, Any]] = {
        "input": {**source, "corpus": _one_or_list(request.corpus)},
        "embed": {"model": request.model, **request.prompts},
        "filter": {"rule": _one_or_list(request.rules)},
        "emit": {"format": _one_or_list(request.formats), "num_negatives": request.num_negatives},
    }
    given: dict[str, Any] = {"seed": 0}
    if request.recipe is not None:
        try:
            given |= {table: dict(values) for table, values in recipe_settings(request.recipe).items()}
        except ConfigError as error:
            problems.add(f"{_COMMAND}: {error}")
    for table, values in found.items():
        if kept := {key: value for key, value in values.items() if value is not None}:
            given.setdefault(table, {}).update(kept)
    for text in request.overrides:
        override(given, text, problems)
    if "out" in given:
        problems.add(f"{_COMMAND}: --set out: the config lies in the output folder; name the folder with --out")
    return {**_placed(given), "out": "."}


def _placed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings whose paths start at the working directory as absolute paths, at any depth.

    Empty ones stay, for the check of the config to refuse them.
    """
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, dict):
            found[key] = value if key == "columns" else _placed(value)
        elif isinstance(value, list):
            inner = [_placed(one) if isinstance(one, dict) else one for one in value]
            found[key] = [absolute(one) if key in PATHS and _is_text(one) else one for one in inner]
        else:
            is_path = _is_text(value) and (key in PATHS or (key == "model" and _is_path(value)))
            found[key] = absolute(value) if is_path else value
    return found


def _check_files(request: MineRequest, problems: Problems) -> None:
    if request.beir and request.pairs:
        problems.add(f"{_COMMAND}: --beir is in place of files of pairs; leave out {request.pairs[0]!r}")
    if not request.beir and not request.pairs:
        problems.add(f"{_COMMAND}: name a file of pairs, or a BEIR folder with --beir")
    for entry in request.pairs:
        if (Path(entry) / "qrels").is_dir():
            problems.add(f"{_COMMAND}: {entry}: is a BEIR folder, not pairs; pass it as --beir {entry}")


def _one_or_list(values: Sequence[str]) -> str | list[str] | None:
    return values[0] if len(values) == 1 else list(values) or None


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _is_path(model: str) -> bool:
    return model.startswith(("./", "../", "~")) or Path(model).is_dir()


def _checked(given: Mapping[str, Any], folder: Path, problems: Problems) -> Config:
    """Return the checked config; the problems of options, files and model are raised together.

    A model of the hub is not fetched here.
    """
    kinds: list[type[HnmineError]] = [ConfigError] if problems.messages else []
    config = only_input = None
    try:
        config = only_input = check_config(given, _COMMAND, folder)
    except ConfigError as error:
        kinds.append(ConfigError)
        _add(error, problems)
    if config is None:
        with suppress(ConfigError):
            only_input = check_config({"input": given.get("input")}, _COMMAND, folder)
    if only_input is not None:
        of_input = Problems()
        try:
            check_files(only_input, of_input)
            of_input.raise_if_any()
        except InputError as error:
            kinds.append(InputError)
            _add(error, problems)
    embed = given.get("embed")
    model = embed.get("model") if isinstance(embed, dict) else None
    if isinstance(model, str) and model.startswith("/"):
        try:
            find_model(Config().embed.model_copy(update={"model": model}))
        except ModelError as error:
            kinds.append(ModelError)
            _add(error, problems)
    if kinds:
        problems.raise_if_any(kinds[0])
    assert config is not None
    return config


def _add(error: HnmineError, problems: Problems) -> None:
    """Add an error's lines, but for that of a missing input, which `_check_files` says in terms of the command line."""
    for line in str(error).splitlines():
        if not line.endswith(NOTHING_TO_READ):
            problems.add(line)


def _differences(path: Path, config: Config) -> str:
    """Return the settings in which a config file differs from a config, a line each; why it cannot be read if so."""
    try:
        old = load_config(path)
    except ConfigError as error:
        return str(error)
    before, after = (
        {"parts": one.model_dump(mode="json") | {"out": str(one.out_folder)}, "upstream": {}} for one in (old, config)
    )
    return "\n".join(f"  {line}" for line in changes(before, after)) if before != after else ""
