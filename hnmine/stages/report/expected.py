"""Limits of a report's numbers for a config: what its settings bring about on purpose is no flaw."""

from dataclasses import replace

from hnmine.config.tables import Config
from hnmine.stages.report.headline import ALL_NUMBERS, RATE, Number

EASY_CHOICES = ("random", "simans", "stratified")
"""Values of `emit.choose` that take easy negatives beside hard ones."""
SCORED_FORMATS = ("n-tuple-scores", "distillation")
"""Shapes for losses that learn scores, which need easy and hard negatives alike."""
WORD_SOURCES = ("bm25", "sparse")
"""Kinds of sources that find documents by words shared with the query."""
RANDOM_SHARE = "sources.random.share"
"""The share of the negatives that are random documents, by its name in report.json."""


def numbers_of(config: Config) -> dict[str, Number]:
    """Return `ALL_NUMBERS` with the limits, and what to change beyond them, that fit the settings of a config.

    - false_negative_rate: `filter.max_false_negative_rate`, where it is set.
    - hardness: none where easy negatives are chosen on purpose. Where random documents are asked for, whose hardness is
      about 0, the limit is multiplied by the share of the others.
    - sources.random.share: none where more random documents are asked for than the limit allows.
    - fill: none where as many negatives are wanted as there can be candidates: then all kept ones are taken.
    """
    emit, found = config.emit, dict(ALL_NUMBERS)
    if config.filter.max_false_negative_rate is not None:
        found[RATE] = replace(found[RATE], flaw=config.filter.max_false_negative_rate)
    if easy_on_purpose(config):
        text = "any value: the settings of `[emit]` take easy negatives on purpose"
        found["hardness"] = replace(found["hardness"], flaw=None, good=text)
    elif emit.random_negatives and (lowest := found["hardness"].flaw) is not None:
        lowest = round(lowest * emit.retrieved_negatives / emit.num_negatives, 4)
        text = f"{lowest:g} to 0.96, as {emit.random_negatives} of {emit.num_negatives} are random documents"
        found["hardness"] = replace(found["hardness"], flaw=lowest, good=text)
    random = found[RANDOM_SHARE]
    if random.beyond(emit.random_negatives / emit.num_negatives, random.flaw):
        text = f"any value: {emit.random_negatives} of {emit.num_negatives} are asked to be random documents"
        found[RANDOM_SHARE] = replace(random, flaw=None, good=text)
    if emit.retrieved_negatives >= config.retrieve.max_candidates and emit.fallback == "none":
        text = "any value: `num_negatives` takes all candidates that are kept"
        found["fill"] = replace(found["fill"], flaw=None, stop=None, good=text)
    words = [source.label for source in config.retrieve.source if source.kind in WORD_SOURCES]
    if words:
        text = f"fewer negatives of the sources that find shared words ({', '.join(words)}): a lower `top_k` of theirs"
        overlap = "biases.query_overlap.effect"
        found[overlap] = replace(found[overlap], change=text)
    return found


def easy_on_purpose(config: Config) -> bool:
    """Return whether the settings of [emit] choose easy negatives beside hard ones."""
    return config.emit.choose in EASY_CHOICES or set(config.emit.formats) <= set(SCORED_FORMATS)
