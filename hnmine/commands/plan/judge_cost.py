"""What `hnmine judge` would cost: requests and tokens, about all negatives of a run that are candidates."""

import json
import math

from hnmine.commands.export_judgements import POSITIVES
from hnmine.commands.judge.questions import Candidate, Texts, make_question
from hnmine.commands.plan.workload import Workload
from hnmine.models.served import estimated_tokens


def judge_cost(work: Workload) -> dict[str, int] | None:
    """Return what a judge would be asked at most, and about how many tokens that takes; None if no judge is.

    None is where the config names none, or the run has images, which `hnmine judge` refuses.

    A request is about one query, as the command asks without `--per-query`: it has the text of an average query, of its
    positives and of `judge.candidates` documents at most.

    Returns:
        requests, candidates, prompt_tokens (a quarter of the bytes of the requests) and answer_tokens (as many as
        the answers are allowed).
    """
    config, judge = work.config, work.config.judge
    if (judge.model is None and judge.served_model is None) or config.input.uses_images:
        return None
    emit, retrieve = config.emit, config.retrieve
    negatives = math.ceil(min(emit.retrieved_negatives * work.positives, retrieve.max_candidates))
    asked = min(negatives, judge.candidates)
    if not asked:
        return {"requests": 0, "candidates": 0, "prompt_tokens": 0, "answer_tokens": 0}
    document = "x" * round(work.document_bytes)
    shown = [document] * round(min(work.positives, POSITIVES))
    candidates = [Candidate("", document, {})] * asked
    question = make_question(
        Texts("", "x" * round(work.query_bytes), shown, candidates), judge, judge.served_model or ""
    )
    size = len(json.dumps(question.body, ensure_ascii=False))
    return {
        "requests": work.queries,
        "candidates": work.queries * asked,
        "prompt_tokens": round(work.queries * estimated_tokens(size)),
        "answer_tokens": work.queries * asked * judge.answer_tokens,
    }
