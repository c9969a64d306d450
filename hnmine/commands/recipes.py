"""Published ways of mining as settings, each with its source and with what is different here."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hnmine.config.section import toml_value
from hnmine.errors import ConfigError

_NV_RETRIEVER = "NV-Retriever, https://arxiv.org/abs/2407.15831"
# a published way of mining takes a fixed number of candidates: a query that keeps too few gets no more
_TOP_100 = {"top_k": 100, "max_top_k": 100}
_TOP_200 = {"top_k": 200, "max_top_k": 200}


@dataclass(frozen=True)
class Recipe:
    """A published way of mining.

    Attributes:
        source: the paper or tool, with its address.
        does: what the source does, in a sentence.
        differs: where these settings, or what they lack, differ from it; "" for nowhere.
        settings: tables of the config with the settings that differ from the defaults.
    """

    source: str
    does: str
    differs: str
    settings: Mapping[str, Mapping[str, Any]]


RECIPES = {
    "nv-retriever": Recipe(
        _NV_RETRIEVER,
        "TopK-PercPos: the 4 highest scores of those below 95% of the positive's score; the best of the paper's rules.",
        "The paper's teacher is a large embedding model; name one as embed.model.",
        {"retrieve": _TOP_100, "filter": {"rule": "percent", "percent": 0.95}, "emit": {"num_negatives": 4}},
    ),
    "topk-margin": Recipe(
        _NV_RETRIEVER,
        "TopK-MarginPos: the 4 highest scores of those at least 0.05 below the positive's score.",
        "The paper's teacher is a large embedding model; name one as embed.model.",
        {"retrieve": _TOP_100, "filter": {"rule": "margin", "margin": 0.05}, "emit": {"num_negatives": 4}},
    ),
    "topk-abs": Recipe(
        _NV_RETRIEVER,
        "TopK-Abs: the 4 highest scores of those below 0.7, whatever the positive's score is.",
        "The limit is for the paper's teacher; other models have other scores.",
        {"retrieve": _TOP_100, "filter": {"rule": "absolute", "max_score": 0.7}, "emit": {"num_negatives": 4}},
    ),
    "nemotron": Recipe(
        "NVIDIA's mining for its Nemotron embedding models, https://github.com/NVIDIA-NeMo/Automodel "
        "(mine_hard_negatives.py: hard_neg_margin = 0.95); the models are described in https://arxiv.org/abs/2511.07025",
        "The 5 highest scores of those below 95% of the lowest score of the query's positives.",
        "NVIDIA's tools differ in the number (20 in Automodel, 5 in its recipes); candidates of several teachers, as "
        "the models' own data had them, are sources (retrieve.source).",
        {
            "retrieve": _TOP_100,
            "filter": {"rule": "percent", "percent": 0.95, "anchor": "min"},
            "emit": {"num_negatives": 5},
        },
    ),
    "sentence-transformers": Recipe(
        "The tip in the documentation of mine_hard_negatives, https://sbert.net",
        "Of the best 31, the 3 highest scores of those below 95% of the lowest score of the query's positives.",
        "Copies and near-copies of a positive or of the query are never negatives. docs/from-sentence-transformers.md "
        "has every argument of the function.",
        {
            "retrieve": {"top_k": 31, "max_top_k": 31},
            "filter": {"rule": "percent", "percent": 0.95, "anchor": "min"},
            "emit": {"num_negatives": 3},
        },
    ),
    "bge": Recipe(
        "FlagEmbedding, scripts/hn_mine.py, https://github.com/FlagOpen/FlagEmbedding",
        "15 documents drawn at random from the ranks 11 to 210, filled up with random documents; no rule.",
        "Checks for positives of the same query on other lines, copies and near-copies are added.",
        {
            "retrieve": {"top_k": 210, "max_top_k": 210},
            "filter": {"rule": "none", "ranks": [11, 210]},
            "emit": {"format": "bge", "num_negatives": 15, "choose": "random", "fallback": "random"},
        },
    ),
    "simans": Recipe(
        "SimANS, https://arxiv.org/abs/2210.11773, https://github.com/microsoft/SimXNS",
        "15 documents drawn from the top 100, those that score near the positive being the most likely.",
        "Scores are in standard deviations of random documents' scores, so simans_a and simans_b are not the paper's. "
        "One draw instead of a new one in every epoch.",
        {"retrieve": _TOP_100, "filter": {"rule": "none"}, "emit": {"choose": "simans", "num_negatives": 15}},
    ),
    "star": Recipe(
        "STAR, https://arxiv.org/abs/2104.08051, https://github.com/jingtaozhan/DRhard",
        "Static hard negatives: documents drawn at random from the top 200 of a warmed-up model (embed.model); the "
        "other positives of a training batch are the random negatives.",
        "One draw instead of a new one in every epoch; ADORE, the paper's second algorithm, searches at every step of "
        'training. emit.choose = "mixed" writes random documents into the rows for losses without in-batch negatives.',
        {"retrieve": _TOP_200, "filter": {"rule": "none"}, "emit": {"choose": "random"}},
    ),
    "ance": Recipe(
        "ANCE, https://arxiv.org/abs/2007.00808, https://github.com/microsoft/ANCE",
        "20 documents drawn at random from the top 200 of the newest checkpoint (embed.model).",
        "Mining does not go on while the model trains: run it again with each new checkpoint (`hnmine run --model`).",
        {"retrieve": _TOP_200, "filter": {"rule": "none"}, "emit": {"choose": "random", "num_negatives": 20}},
    ),
    "dpr": Recipe(
        "Dense Passage Retrieval, https://arxiv.org/abs/2004.04906",
        "One negative of BM25 for each pair, beside the in-batch negatives.",
        "The paper leaves out passages that contain the answer's text; checks for copies and near-copies are added.",
        {"retrieve": {"source": [{"kind": "bm25"}]}, "filter": {"rule": "none"}, "emit": {"num_negatives": 1}},
    ),
}
"""All recipes, by name. Settings that a source does not state are at their defaults."""


def recipe_settings(name: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of a recipe.

    Raises:
        ConfigError: there is no such recipe; the message names the nearest.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RECIPES)}"
        raise ConfigError(f"--recipe {name}: no such recipe; {hint} (`hnmine init --list-recipes` describes them)")
    return RECIPES[name].settings


def list_recipes() -> str:
    """Return all recipes as text: name, what it does, what is different here, its settings and its source."""
    return "\n".join(_described(name, recipe) for name, recipe in RECIPES.items())


def _described(name: str, recipe: Recipe) -> str:
    differs = f"  different here: {recipe.differs}\n" if recipe.differs else ""
    return (
        f"{name}\n  {recipe.does}\n{differs}  settings: {', '.join(_assignments(recipe))}\n  source: {recipe.source}\n"
    )


def _assignments(recipe: Recipe) -> Iterator[str]:
    for table, values in recipe.settings.items():
        yield from (f"{table}.{key} = {toml_value(value)}" for key, value in values.items())
