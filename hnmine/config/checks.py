"""Settings that contradict each other or need another table: all checks, and those of a run's input and folder."""

from collections.abc import Iterator

from hnmine.config.check_lists import CheckList
from hnmine.config.mining_checks import MINING_CHECKS
from hnmine.config.model_checks import MODEL_CHECKS
from hnmine.config.tables import Config
from hnmine.display import parse_size
from hnmine.storage.hub_files import is_hub

_CHECKS = CheckList()
_reads = _CHECKS.reads
NOTHING_TO_READ = "input: nothing to read; give corpus, queries and qrels, or beir, or pairs"
IMAGE_FORMATS = ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list")
"""Shapes of training rows that may hold images."""


def contradictions(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (tables that the check reads, message) for settings that cannot work together.

    A message is meaningless if one of its tables could not be read.
    """
    for tables, check in (*_CHECKS, *MODEL_CHECKS, *MINING_CHECKS):
        yield from ((tables, message) for message in check(config))
    yield from _missing_tables(config)


def _missing_tables(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    columns = config.emit.extra_columns
    models = {"guide": "a second teacher", "rescore": "a cross-encoder"}
    uses = (
        ("filter", "guide", "guide" in config.filter.rules, 'filter.rule: "guide"'),
        ("emit", "guide", "guide_score" in columns, "emit.extra_columns: guide_score"),
        ("filter", "rescore", config.filter.score in ("rescored", "checked"), f'filter.score: "{config.filter.score}"'),
        ("emit", "rescore", "rescore_score" in columns, "emit.extra_columns: rescore_score"),
    )
    for table, needed, used, setting in uses:
        if used and getattr(config, needed) is None:
            yield (table, needed), f"{setting} needs {models[needed]}; add a table [{needed}] with its model"


@_reads("memory")
def _memory(config: Config) -> Iterator[str]:
    try:
        parse_size(config.memory)
    except ValueError as error:
        yield f"memory: {error}"


@_reads("out")
def _out(config: Config) -> Iterator[str]:
    if is_hub(config.out):
        yield (
            f"out: {config.out}: a repository on the Hugging Face hub cannot be locked, so no run can be written "
            "there; name a folder or an object store, and push the training files: hf upload OWNER/NAME "
            "FOLDER/emit . --repo-type dataset"
        )


@_reads("index")
def _splits(config: Config) -> Iterator[str]:
    if config.index.splits > 1 and config.index.kind in ("hnsw", "ivf"):
        yield (
            f"index.splits: only exact search can be split, and index.kind = {config.index.kind!r} is an index "
            'over the whole corpus; set index.kind = "flat", or leave index.splits out'
        )


@_reads("input")
def _input_kind(config: Config) -> Iterator[str]:
    given = config.input
    apart = [name for name in ("queries", "qrels") if getattr(given, name)]
    if given.beir and (given.corpus or apart or given.pairs):
        yield "input.beir: a BEIR folder already has corpus, queries and qrels; leave the others out"
    elif given.pairs and apart:
        yield f"input.pairs: pairs already have queries and positives; leave out input.{apart[0]}"
    elif given.pairs and given.eval_split and not given.eval_qrels:
        yield "input.eval_split: pairs have no splits; name qrels in input.eval_qrels, or leave it out"
    elif given.eval_split and given.eval_split == given.split and not given.eval_qrels:
        yield f"input.eval_split: {given.eval_split!r} is also input.split, so nothing would be left; name another"
    elif given.pairs and given.split:
        yield "input.split: pairs have no splits; leave it out, or keep the pairs of one split in a file of its own"
    elif not given.beir and not given.pairs:
        missing = [name for name in ("corpus", "queries", "qrels") if not getattr(given, name)]
        if len(missing) == 3:
            yield NOTHING_TO_READ
        elif missing:
            yield f"input: {' and '.join(missing)} missing (corpus, queries and qrels go together)"


@_reads("input", "retrieve", "rescore", "emit", "previous")
def _images(config: Config) -> Iterator[str]:
    if not config.input.uses_images:
        return
    if config.input.pairs:
        yield "input.columns: pairs are texts; name the images in a corpus, with queries and qrels"
    for number, source in enumerate(config.retrieve.source):
        if source.kind == "sparse":
            yield f"retrieve.source.{number}.kind: a sparse encoder takes no images; leave the source out"
    for name in sorted(set(config.emit.formats) - {*IMAGE_FORMATS}):
        yield f"emit.format: {name!r} holds no images; set it to one of {', '.join(IMAGE_FORMATS)}"
    for table, why in (
        ("rescore", "a cross-encoder scores texts"),
        ("previous", "earlier runs are compared by texts"),
    ):  # fmt: skip
        if getattr(config, table) is not None:
            yield f"{table}: {why}, and this input has images (input.columns); leave the table out"
