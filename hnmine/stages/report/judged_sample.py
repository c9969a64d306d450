"""A judged random sample of the negatives: the set's own false-negative rate, and what follows from it."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.errors import Problems, few
from hnmine.readers.collection import input_sources
from hnmine.readers.judged_samples import SampledJudgement, sampled_judgements
from hnmine.readers.judgements import EMPTY, IRRELEVANT, RELEVANT, UNSURE
from hnmine.runtime.stage import RunContext
from hnmine.science.agreement import cohens_kappa
from hnmine.science.propensity import false_rate, propensity, propensity_interval
from hnmine.science.survey import Share, stratified_share
from hnmine.stages.emit.negative_pairs import negative_pairs, set_name
from hnmine.storage.schemas.ingest import ALIASES, CORPUS, QUERIES
from hnmine.storage.store import Shards

SAMPLED = "judged_sample"
"""The section's name in report.json."""
AS_WRITTEN = "take all lines as `hnmine export-judgements --sample random` wrote them"
SURE = (RELEVANT, IRRELEVANT)
Answers = dict[tuple[str, str], list[SampledJudgement]]
"""The lines of each pair of query and document ids."""
ANOTHER_SET = "the sample was drawn from another set of negatives, of which about {shared:.0%} are in this one"


def judged_sample(context: RunContext, chosen: pa.Table) -> dict[str, Any]:
    """Return the report's section on a judged random sample of negatives, {} where the config names none.

    Returns:
        {"judged_sample": numbers}: `rate` and `interval` of this set, null with a `reason` where they cannot be said;
        `drawn`: those of the set that the sample was drawn from; `shared`, where that is another set: those of the
        negatives that both have; `retrieved`, where it is the same set: those of its negatives that are no random
        documents. Negatives that `input.judgements` took out as relevant count as in this set.

    Raises:
        InputError: a file cannot be read, or its lines do not fit together or the collection.
    """
    config = context.config
    if config.report.judged_sample is None and config.input.judgements is None:
        return {}
    lines = sampled_judgements(config, input_sources(config).get("judgements", []))
    if not lines:
        return {}
    return {SAMPLED: _estimates(context, chosen, lines)}


def _estimates(context: RunContext, chosen: pa.Table, lines: list[SampledJudgement]) -> dict[str, Any]:
    answers: Answers = defaultdict(list)
    for line in sorted(lines, key=lambda one: one.judge):  # a stable sort: lines of one judge stay in order
        answers[line.query_id, line.doc_id].append(line)
    query, document = negative_pairs(chosen)
    of_this_set = lines[0].sample.split("-")[0] == set_name(context, query, document)
    in_set = dict(zip(answers, _in_set(context, list(answers), query, document).tolist(), strict=True))
    _check(answers, {} if not of_this_set else in_set)
    # each judge counts once, however many lines say the same
    sure = {
        pair: list({one.judge: one.judgement == RELEVANT for one in own if one.judgement in SURE}.values())
        for pair, own in answers.items()
    }
    judged = [pair for pair, own in sure.items() if own]
    twice = [own[:2] for own in sure.values() if len(own) > 1]
    found: dict[str, Any] = {
        "sample": lines[0].sample,
        "negatives": len(answers),
        "judged": len(judged),
        "relevant": sum(float(np.mean(sure[pair])) for pair in judged),
        "unsure": sum(any(one.judgement == UNSURE for one in own) and not sure[pair] for pair, own in answers.items()),
        "open": sum(all(one.judgement == EMPTY for one in own) for own in answers.values()),
        "judged_twice": len(twice),
        "kappa": cohens_kappa(*np.array(twice).T) if twice else None,
    }
    nothing = {"rate": None}
    strata, sizes = _strata(answers)
    gone = [number for number in range(1, max(strata)) if number not in strata]
    if gone or (of_this_set and sizes.sum() != len(query)):
        held = f"its strata hold {sizes.sum():,} of the set's {len(query):,} negatives" if of_this_set else few(gone)
        return {**found, **nothing, "reason": f"the sample has no line of some strata ({held}): {AS_WRITTEN}"}
    places = [strata[answers[pair][0].stratum] for pair in judged]
    empty = [name for name, place in strata.items() if place not in places]
    if empty:
        reason = f"no negative of stratum {few(empty)} is judged yet: judge the lines in their order"
        return {**found, **nothing, "reason": reason}
    values, where = np.array([np.mean(sure[pair]) for pair in judged]), np.array(places)
    whole = stratified_share(values, np.ones(len(judged), dtype=bool), where, sizes)
    assert whole is not None
    found["drawn"] = {**_numbers(whole), "negatives": int(sizes.sum())}
    if of_this_set:
        inside = _in_set(context, judged, *negative_pairs(chosen, retrieved=True))
        retrieved = stratified_share(values, inside, where, sizes)
        if retrieved is not None:
            found["retrieved"] = {**_numbers(retrieved), "judged": int(inside.sum())}
        return {**found, **_numbers(whole)}
    inside = np.array([in_set[pair] for pair in judged])
    shared = stratified_share(values, inside, where, sizes)
    share = shared.units / float(sizes.sum()) if shared else 0.0
    found["shared"] = {**(_numbers(shared) if shared else nothing), "judged": int(inside.sum()), "share": share}
    return {**found, **nothing, "reason": ANOTHER_SET.format(shared=share)}


def _numbers(share: Share) -> dict[str, Any]:
    return {"rate": share.value, "interval": [share.low, share.high]}


def _check(answers: Answers, in_set: Mapping[tuple[str, str], bool]) -> None:
    """Check that the lines fit together.

    Args:
        answers: the lines of each pair.
        in_set: whether each pair is a negative of the set that the sample names; empty where it is another set.

    Raises:
        InputError: a pair is no negative of the set, has two strata, or two answers of one judge; a stratum has two
            sizes, or more pairs than its size; all problems are named.
    """
    problems = Problems()
    first_of: dict[int, SampledJudgement] = {}
    pairs: dict[int, int] = defaultdict(int)
    for pair, own in answers.items():
        if not in_set.get(pair, True):
            problems.add(f"{own[0].location}: {pair[1]!r} is no negative of query {pair[0]!r}; {AS_WRITTEN}")
        said: dict[str, SampledJudgement] = {}
        for line in own:
            other = own[0] if line.stratum != own[0].stratum else first_of.setdefault(line.stratum, line)
            if (other.stratum, other.size) != (line.stratum, line.size):
                problems.add(
                    f"{line.location}: stratum {line.stratum} of {line.size:,} contradicts {other.location}, where it "
                    f"is stratum {other.stratum} of {other.size:,}; {AS_WRITTEN}"
                )
            if line.judgement in SURE and said.setdefault(line.judge, line).judgement != line.judgement:
                problems.add(
                    f"{line.location}: {line.judgement}, and {said[line.judge].judgement} at "
                    f"{said[line.judge].location} by the same judge; leave out one of the lines, or name the judges "
                    "in a field judge"
                )
        pairs[own[0].stratum] += 1
    for number, count in pairs.items():
        line = first_of[number]
        if count > line.size:
            problems.add(
                f"{line.location}: stratum {number} has {line.size:,} pairs, and there are lines of {count:,}; "
                f"{AS_WRITTEN}"
            )
    problems.raise_if_any()


def _strata(answers: Answers) -> tuple[dict[int, int], np.ndarray]:
    """Return the place of each stratum's number, and the strata's sizes, int64."""
    sizes = {own[0].stratum: own[0].size for own in answers.values()}
    names = sorted(sizes)
    return {name: place for place, name in enumerate(names)}, np.array([sizes[name] for name in names])


def _in_set(context: RunContext, pairs: list[tuple[str, str]], query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Return whether each pair of ids is among a set's pairs of rows, or was taken out as judged relevant; bool."""
    ingest = context.reading("ingest")
    queries = Shards(ingest / "queries", QUERIES)
    rows_of_query = {name: row for row, name in enumerate(queries.column("query_id").to_pylist())}
    names = {name for _, name in pairs}
    rows_of_document = {
        name: row
        for row, name in enumerate(Shards(ingest / "corpus", CORPUS).column("doc_id").to_pylist())
        if name in names
    }
    aliases = Shards(ingest / "aliases", ALIASES)
    for name, row in zip(*(aliases.column(one).to_pylist() for one in ALIASES.names[:2]), strict=True):
        if name in names:
            rows_of_document.setdefault(name, row)
    present = set(zip(query.tolist(), document.tolist(), strict=True))
    removed = queries.column("relevant_rows").to_pylist()
    out = np.zeros(len(pairs), dtype=bool)
    for place, (query_id, doc_id) in enumerate(pairs):
        row, doc = rows_of_query.get(query_id), rows_of_document.get(doc_id)
        out[place] = row is not None and doc is not None and ((row, doc) in present or doc in removed[row])
    return out


def true_rates(report: dict[str, Any]) -> dict[str, Any]:
    """Return the share of relevant documents that are labelled, and true rates of other settings, as estimates.

    `report` has the sections `hidden_positives`, `tradeoff` and `judged_sample`. {} where one is missing, the sample is
    of another set, or no hidden positive was chosen. All rates are of retrieved negatives, since hidden positives are
    measured among these alone. See `hnmine.science.propensity` for the assumption.
    """
    sample, protocol = report.get(SAMPLED), report.get("hidden_positives")
    if sample is None or protocol is None or "retrieved" not in sample:
        return {}
    own, judged = protocol["this_filter"], sample["retrieved"]
    labelled = propensity(own["rate"], judged["rate"])
    if labelled is None:
        return {}
    low, high = propensity_interval(own["rate"], tuple(own["interval"]), judged["rate"], tuple(judged["interval"]))
    return {
        "estimated_from_sample": {
            "propensity": labelled,
            "interval": [low, high],
            "margin_95": false_rate(protocol["margin_95"]["rate"], labelled),
            "settings": [
                {"settings": one["settings"], "rate": false_rate(one["rate"], labelled)}
                for one in report["tradeoff"]["settings"]
                if one.get("rate") is not None
            ],
        }
    }
