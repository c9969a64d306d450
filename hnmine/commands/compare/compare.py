"""Compares mined sets with a first one: headline numbers, common negatives, shifts of scores and ranks, differences."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.arrays.ragged import single_array
from hnmine.commands.compare.sets import Match, MatchedSet, MinedSet, is_run, match, read_file, read_run
from hnmine.commands.compare.settings import consequences, differing, of_labels, of_vectors
from hnmine.commands.compare.verdict import measured, verdict
from hnmine.errors import ConfigError, HnmineError, IncompleteStage, InputError, few
from hnmine.science.agreement import shift
from hnmine.science.statistics import bootstrap_ratios, percentile_interval
from hnmine.stages.report.quality import HEADLINE
from hnmine.stages.report.statistics import mean
from hnmine.storage.paths import path_of
from hnmine.storage.store import Shards

NO_NUMBERS = "plain files have no report: only the sets are compared"
SEED = 0
_KNOWN = ("scores", "ranks")


def compare(given: Sequence[str], source: Path | None = None, examples: int = 5) -> dict[str, Any]:
    """Return how mined sets differ from the first one.

    Args:
        given: output folders of complete runs, or files of any shape that `hnmine audit` reads.
        source: the output folder of another run, for runs made `--from` it.
        examples: number of the queries that differ most to list with texts.

    Raises:
        ConfigError: fewer than two sets.
        InputError: files that cannot be read, or sets without a common query; all of them are named.
        IncompleteStage: runs that are not complete, where nothing else is wrong; all of them are named.
    """
    if len(given) < 2:
        raise ConfigError("compare needs two sets or more: output folders of runs, or files with mined negatives")
    sets = _read_all(given, source)
    matched = match(sets)
    settings = differing([mined.run.recorded if mined.run else None for mined in sets])
    names = labels(len(sets))
    return {
        "sets": [_described(mined) for mined in sets],
        "settings": settings,
        "comparisons": [
            _against(sets[0], other, (names[0], name)) for other, name in zip(sets[1:], names[1:], strict=True)
        ],
        "tradeoff": sets[0].run.report["tradeoff"]["settings"] if sets[0].run is not None else [],
        "only": _only(matched.sets),
        "most_different": list(_most_different(matched, examples)),
        "warnings": [*consequences(settings), *_warnings(sets)],
    }


def _read_all(given: Sequence[str], source: Path | None) -> list[MinedSet]:
    if "" in given:  # it would stand for the working directory
        raise InputError("compare: an empty path")
    roots = [path_of(name) for name in given if is_run(path_of(name))] + ([source] if source else [])
    found: list[MinedSet] = []
    wrong: list[HnmineError] = []
    for name in dict.fromkeys(given):
        try:
            found.append(read_run(name, roots) if is_run(path_of(name)) else read_file(name))
        except HnmineError as error:
            wrong.append(error)
    wrong += [InputError(message) for other in found[1:] for message in _nothing_shared(found[0], other)]
    if wrong:
        kind = IncompleteStage if all(isinstance(error, IncompleteStage) for error in wrong) else InputError
        raise kind("\n".join(map(str, wrong)))
    by_name = {mined.name: mined for mined in found}
    return [by_name[name] for name in given]


def _nothing_shared(base: MinedSet, other: MinedSet) -> Iterator[str]:
    """Yield a message where two sets have no query in common."""
    matched = match([base, other])
    if not len(matched.queries):
        how = "id" if matched.by_ids else "text"
        shown = (few(mined.query_texts(np.arange(min(2, len(mined.query_keys)))), 2) for mined in (base, other))
        yield f"{base.name} and {other.name}: no query in common, by {how}; they ask {' and '.join(shown)}"


def _described(mined: MinedSet) -> dict[str, Any]:
    numbers: dict[str, Any] | None = None
    if mined.run is not None:
        report = mined.run.report
        intervals = report["intervals"] | {
            "false_negative_rate": report.get("hidden_positives", {}).get("this_filter", {}).get("interval")
        }
        names = (*HEADLINE, "false_negative_rate")
        numbers = {name: {"value": report[name], "interval": intervals[name]} for name in names}
    return {
        "name": mined.name,
        "kind": "file" if mined.run is None else "run",
        "queries": len(np.unique(mined.query_keys)) if mined.run is None else len(mined.query_keys),
        "queries_with_negatives": len(np.unique(mined.owners)),
        "examples": mined.examples,
        "negatives": len(mined.owners),
        "documents": len(np.unique(mined.doc_keys)),
        "numbers": numbers,
        "hidden_positives": measured(mined.run.report if mined.run is not None else None),
    }


def _against(base: MinedSet, other: MinedSet, names: tuple[str, str]) -> dict[str, Any]:
    """Return how a set differs from the first one, over the queries in both; `names` are short ones for the verdict."""
    matched = match([base, other])
    left, right = matched.sets
    queries, shared, union = matched.queries, matched.shared, matched.union
    here, there = (one.at[one.sets == 2] for one in matched.sets)  # pairs of both sets are in the same order
    pair = {
        "base": base.name,
        "other": other.name,
        "matched_by": "ids" if matched.by_ids else "texts",
        "queries": {
            "shared": len(queries),
            "only_base": len(np.setdiff1d(left.queries, queries)),
            "only_other": len(np.setdiff1d(right.queries, queries)),
        },
        "negatives": {
            "base": len(left.at),
            "other": len(right.at),
            "shared": len(here),
            "share": float(shared.sum() / union.sum()) if union.any() else None,
            "jaccard": float(np.nanmean(matched.jaccard)) if union.any() else None,
            "queries_alike": int((shared == union).sum()),
            "queries_disjoint": int(((shared == 0) & (union > 0)).sum()),
        },
        "both": _means(base, here)
        | {"shifts": {name: shift(getattr(base, name)[here], getattr(other, name)[there]) for name in _KNOWN}},
        "only_base": _alone(left, right),
        "only_other": _alone(right, left),
        **_differences(left, right),
    }
    settings = differing([mined.run.recorded if mined.run else None for mined in (base, other)])
    rates = tuple(measured(mined.run.report if mined.run else None) for mined in (base, other))
    unlike = bool(of_vectors(settings)) or _other_random(base, other), bool(of_labels(settings))
    return {"verdict": verdict(names, pair, rates, unlike), **pair}


def _random_share(mined: MinedSet) -> float:
    """Return the share of a run's negatives that are random documents; 0 for a file, of which it is not known."""
    found = mined.run.report["sources"].get("random") if mined.run is not None else None
    return float(found["share"]) if found is not None else 0.0


def _other_random(left: MinedSet, right: MinedSet) -> bool:
    """Return whether the shares of random documents differ by a twentieth or more, which hardness then shows."""
    return abs(_random_share(left) - _random_share(right)) >= 0.05


def _means(mined: MinedSet, at: np.ndarray) -> dict[str, Any]:
    """Return the number of negatives at some positions, and their mean score and rank; None where unknown."""
    return {"negatives": len(at)} | {
        f"mean_{name[:-1]}": mean(values[~np.isnan(values)])
        for name, values in ((name, getattr(mined, name)[at]) for name in _KNOWN)
    }


def _alone(side: MatchedSet, other: MatchedSet) -> dict[str, Any]:
    """Return the negatives that only one of two sets has: their means, and what the other run did with them."""
    alone = side.sets == 1
    at, run, other_run = side.at[alone], side.mined.run, other.mined.run
    found = _means(side.mined, at)
    if run is None or other_run is None:
        return found
    order = np.argsort(other.queries)  # both are runs, matched by ids: each query has one number
    rows = order[np.searchsorted(other.queries[order], side.owners[alone])]
    theirs = other_run.fates(rows, run.doc_ids.take(pa.array(at)))
    counts = Counter(theirs["fates"].tolist())
    return found | {
        "fates": dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))),
        "shifts": {name: shift(getattr(side.mined, name)[at], theirs[name]) for name in _KNOWN},
    }


def _same_queries(left: MatchedSet, right: MatchedSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions, in each of two runs, of the queries in both, in the same order."""
    _, here, there = np.intersect1d(left.queries, right.queries, assume_unique=True, return_indices=True)
    return here, there


def _differences(left: MatchedSet, right: MatchedSet) -> dict[str, Any]:
    """Return the headline numbers over the queries in both, and their paired differences with 95% intervals."""
    base, other = left.mined.run, right.mined.run
    if base is None or other is None:
        return {"numbers": None, "numbers_reason": NO_NUMBERS}
    here, there = _same_queries(left, right)
    tops, bottoms = (np.concatenate([base.parts[part][here], other.parts[part][there]], axis=1) for part in (0, 1))
    width = len(HEADLINE)
    draws = bootstrap_ratios(tops, bottoms, SEED)
    low, high = percentile_interval(draws[:, width:] - draws[:, :width])
    sums, counts = tops.sum(axis=0), bottoms.sum(axis=0)
    values = np.divide(sums, counts, out=np.full(2 * width, np.nan), where=counts > 0)
    numbers = {}
    for place, name in enumerate(HEADLINE):
        before, after = _plain(values[place]), _plain(values[width + place])
        moved = None if before is None or after is None else after - before
        ends = None if moved is None or np.isnan(low[place]) else [float(low[place]), float(high[place])]
        numbers[name] = {"base": before, "other": after, "difference": moved, "interval": ends}
    return {"numbers": numbers}


def _plain(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _only(sets: list[MatchedSet]) -> list[dict[str, Any]]:
    """Return for each set how many queries, and negatives of queries in all sets, no other set has."""
    asked, counts = np.unique(np.concatenate([np.unique(one.queries) for one in sets]), return_counts=True)
    return [
        {
            "name": one.mined.name,
            "queries": int(np.isin(np.unique(one.queries), asked[counts == 1]).sum()),
            "negatives": int((one.sets == 1).sum()),
        }
        for one in sets
    ]


def _most_different(matched: Match, most: int) -> Iterator[dict[str, Any]]:
    """Yield the queries in all sets with the lowest Jaccard similarity, with the negatives that are not in all sets."""
    queries, agreed, union = matched.queries, matched.jaccard, matched.union
    differing = np.flatnonzero(matched.shared < union)
    order = differing[np.lexsort((queries[differing], -union[differing], agreed[differing]))][:most]
    base = matched.sets[0]
    for place in order.tolist():
        row = np.flatnonzero(base.queries == queries[place])[:1]
        yield {
            "query_id": base.mined.run.query_ids[int(row[0])].as_py() if base.mined.run is not None else None,
            "query": base.mined.query_texts(row)[0],
            "jaccard": float(agreed[place]),
            "shared": int(matched.shared[place]),
            "negatives": [
                _listed(one.mined, one.at[(one.owners == queries[place]) & (one.sets < len(matched.sets))])
                for one in matched.sets
            ],
        }


def _listed(mined: MinedSet, at: np.ndarray) -> list[dict[str, Any]]:
    """Return negatives of one query, the hardest first, or in the order of the set where scores are unknown."""
    at = np.sort(at)
    at = at[np.argsort(-mined.scores[at], kind="stable")]
    ids = mined.run.doc_ids.take(pa.array(at)).to_pylist() if mined.run is not None else [None] * len(at)
    return [
        {"doc_id": name, "score": _plain(mined.scores[i]), "rank": _plain(mined.ranks[i]), "text": text}
        for i, name, text in zip(at.tolist(), ids, mined.texts(at), strict=True)
    ]


def _warnings(sets: Sequence[MinedSet]) -> Iterator[str]:
    """Yield the reasons why numbers of sets cannot be compared."""
    runs = list({mined.name: mined for mined in sets if mined.run is not None}.values())
    for left, right in pairwise(runs):
        here, there = _same_queries(*match([left, right]).sets)
        if moved := int((left.query_keys[here] != right.query_keys[there]).sum()):
            yield f"{left.name} and {right.name}: {moved:,} query ids stand for another text in each"
        yield from _other_documents(left, right)
        if _other_random(left, right):
            yield (
                f"{left.name} and {right.name}: {_random_share(left):.0%} and {_random_share(right):.0%} of the "
                "negatives are random documents, so hardness does not compare; "
                "--set emit.choose=top on both compares the rules"
            )
    for mined in runs:
        if mined.run is not None and mined.run.unknown:
            stages = ", ".join(mined.run.unknown)
            yield f"{mined.name}: settings of {stages} are not known; name the run that it was made from too"


def _other_documents(left: MinedSet, right: MinedSet) -> Iterator[str]:
    """Yield how the corpora of two runs differ, if they do."""
    if left.run is None or right.run is None or left.run.ingest == right.run.ingest:
        return
    ids, keys = zip(*(_documents(one.run.corpus) for one in (left, right) if one.run), strict=True)
    places = pc.index_in(ids[0], value_set=ids[1])
    common = places.is_valid().to_numpy(zero_copy_only=False)
    moved = int((keys[0][common] != keys[1][places.drop_null().to_numpy()]).sum())
    if moved:
        yield f"{left.name} and {right.name}: {moved:,} document ids stand for another text in each"
    alone = [len(own) - int(common.sum()) for own in ids]
    if any(alone):
        yield (
            f"{left.name} and {right.name}: {alone[0]:,} documents are only in the first corpus, {alone[1]:,} only in "
            "the second; hardness is measured from other random documents"
        )


def _documents(corpus: Shards) -> tuple[pa.Array, np.ndarray]:
    """Return the ids and the copy keys of all documents."""
    return single_array(corpus.column("doc_id")), corpus.column("text_key").to_numpy()


def labels(count: int) -> list[str]:
    """Return a short name for each of `count` sets: A, B, ...; numbers where there are more than 26."""
    return [chr(ord("A") + i) if count <= 26 else str(i + 1) for i in range(count)]
