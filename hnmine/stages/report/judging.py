"""The report's section on language models as judges: what they said, what it cost, and what it changed."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from hnmine.config.tables import Config
from hnmine.readers.collection import input_sources
from hnmine.readers.judge_lines import JudgeLine, Opinion, read_judge_lines
from hnmine.readers.judgements import EMPTY, IRRELEVANT, RELEVANT, UNSURE

JUDGING = "judging"
"""The section's name in report.json."""


def judging(config: Config) -> dict[str, Any]:
    """Return the report's section on what language models judged, {} where `input.judgements` has no line of theirs.

    Returns:
        {"judging": numbers}: `pairs` and what was said of them, the second judge's word before the first one's;
        `judged_twice`: pairs that two judges answered, and `overturned`: where they differ; `negatives`: pairs that
        were negatives of the run that was asked about, and how many of these are relevant; requests and tokens of all
        judges; and the same of each in `judges`.

    Raises:
        InputError: a file cannot be read.
    """
    if config.input.judgements is None:
        return {}
    sources = input_sources(config).get("judgements", [])
    lines: dict[tuple[str, str], JudgeLine] = {}
    for line in (line for source in sources for line in read_judge_lines(source)):
        if line.judgement != EMPTY or (line.query_id, line.doc_id) not in lines:  # an answer stays, as for the filter
            lines[line.query_id, line.doc_id] = line
    if not lines:
        return {}
    by_judge: dict[tuple[str, str], list[Opinion]] = defaultdict(list)
    for line in lines.values():
        for opinion in line.opinions:
            by_judge[opinion.judge, opinion.template].append(opinion)
    twice = [given for line in lines.values() if len(given := _answers(line)) > 1]
    asked = [line for line in lines.values() if line.chosen]
    return {
        JUDGING: {
            **_said(line.judgement for line in lines.values()),
            **_spent(opinion for line in lines.values() for opinion in line.opinions),
            "negatives": len(asked),
            "negatives_relevant": sum(line.judgement == RELEVANT for line in asked),
            "judged_twice": len(twice),
            "overturned": sum(given[0] != given[1] for given in twice),
            "judges": [
                {"judge": judge, "template": template, **_said(one.judgement for one in own), **_spent(own)}
                for (judge, template), own in sorted(by_judge.items())
            ],
        }
    }


def _answers(line: JudgeLine) -> list[str]:
    return [opinion.judgement for opinion in line.opinions if opinion.judgement != EMPTY]


def _said(judgements: Iterable[str]) -> dict[str, int]:
    said = Counter(judgements)
    words = {word: said[word] for word in (RELEVANT, IRRELEVANT, UNSURE)}
    return {"pairs": said.total(), **words, "unanswered": said[EMPTY]}


def _spent(opinions: Iterable[Opinion]) -> dict[str, int]:
    """Return requests and tokens; a request that several opinions share counts once."""
    tokens = {(one.judge, one.request): one.tokens for one in opinions}
    return {
        "requests": len(tokens),
        "prompt_tokens": sum(one[0] or 0 for one in tokens.values()),
        "completion_tokens": sum(one[1] or 0 for one in tokens.values()),
        "without_usage": sum(None in one for one in tokens.values()),
    }
