"""Scores of a served cross-encoder: forms of requests, how pairs are cut into them, what answers are refused."""

from typing import Any

import numpy as np
import pytest

from hnmine.config.models import RescoreConfig
from hnmine.errors import ModelError, ServerError
from hnmine.models.served_rerankers import DOCUMENTS, ServedReranker, reranker_identity
from tests.fake_server import PAIRS, FakeServer, Fault
from tests.support import WORDS

ASKED = [(f"amber {at // 7}", f"{' '.join(WORDS[at % 5 : 3 + at % 9])} {at}") for at in range(40)]


def reranker(server: FakeServer, **given: Any) -> ServedReranker:
    config = RescoreConfig(model=server.url, retries=0, **given)
    return ServedReranker(config, reranker_identity(config, ()))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("field", ["documents", "texts"])
def test_the_form_that_a_server_takes_is_found_and_its_scores_are_those_of_the_model(
    server: FakeServer, field: str, raw: bool
) -> None:
    server.field, server.raw = field, raw
    found = reranker(server, request_texts=3)
    assert found.form == (field, raw)
    assert len(server.posts("/rerank")) == {(True, "documents"): 1, (True, "texts"): 2, (False, "documents"): 3}.get(
        (raw, field), 4
    )
    before = len(server.posts("/rerank"))
    np.testing.assert_array_equal(found.score(ASKED), PAIRS.score(ASKED))
    bodies = [seen.body for seen in server.posts("/rerank")[before:]]
    # six queries: five with seven documents, one with five, three a request
    assert [len(body[field]) for body in bodies].count(3) >= 11
    assert len(bodies) == 5 * 3 + 2
    assert all(("raw_scores" in body) == raw for body in bodies)
    tokens = 40 if field == "documents" else 0
    assert found.take_counts() == {"requests": 17, "tokens": tokens}
    assert found.take_counts() == {"requests": 0, "tokens": 0}
    assert set(server.pairs.values()) == {1}


def test_requests_keep_to_their_tokens_with_the_query_counted(server: FakeServer) -> None:
    pairs = [("q" * 40, "w" * 40) for _ in range(9)]
    reranker(server, request_tokens=41).score(pairs)
    assert [len(seen.body["documents"]) for seen in server.posts("/rerank")[1:]] == [3, 3, 3]
    assert reranker(server).score([]).shape == (0,)


def changed(**new: Any) -> Fault:
    """Return a change of an answer: other values of its first entry."""
    return Fault(change=lambda answer: answer | {"results": [answer["results"][0] | new, *answer["results"][1:]]})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(change=lambda a: a | {"results": a["results"][1:]}), "scores of 7 documents, and got 6 scores, of 6"),
        (Fault(change=lambda a: a | {"results": a["results"] * 2}), "scores of 7 documents, and got 14 scores, of 7"),
        (changed(index=7), "scores of 7 documents, and got 7 scores, of 6 of them"),
        (changed(index=-1), "scores of 7 documents, and got 7 scores, of 6 of them"),
    ],
)
def test_scores_of_other_documents_are_refused(server: FakeServer, fault: Fault, message: str) -> None:
    found = reranker(server)
    server.faults = [fault]
    with pytest.raises(ModelError, match=rf"^rescore\.model http://127\S* \(hash-model\): asked for the {message}"):
        found.score(ASKED[:7])


@pytest.mark.parametrize(
    "fault",
    [
        changed(index=None), changed(index="x"), changed(relevance_score="high"), changed(relevance_score=[1.0, 2.0]),
        Fault(body=b"{}"), Fault(body=b'{"results": [1, 2]}'), Fault(body=b"null"), Fault(body=b"3"),
    ],
)  # fmt: skip
def test_what_is_no_score_at_all_is_an_answer_of_another_shape(server: FakeServer, fault: Fault) -> None:
    found = reranker(server)
    server.faults = [fault]
    with pytest.raises(ServerError, match=r"rescore\.model .*not an answer of /rerank"):
        found.score(ASKED[:7])


def test_scores_that_are_not_finite_stay_visible(server: FakeServer) -> None:
    found = reranker(server)
    server.faults = [changed(relevance_score=None), changed(relevance_score=1e300)]
    assert np.isnan(found.score(ASKED[:7])).sum() == 1
    assert np.isinf(found.score(ASKED[:7])).sum() == 1


def test_a_changed_model_is_told_from_the_recorded_one_and_rounding_is_not(server: FakeServer) -> None:
    config = RescoreConfig(model=server.url, retries=0)
    first = reranker_identity(config, ())
    assert first["form"] == {"field": "documents", "raw": True}
    assert first["size"] == len(DOCUMENTS)

    def shifted(by: float) -> Fault:
        return Fault(
            change=lambda a: (
                a | {"results": [one | {"relevance_score": one["relevance_score"] + by} for one in a["results"]]}
            )
        )

    server.faults = [shifted(1e-4)]
    assert reranker_identity(config, [first]) == first
    server.faults = [shifted(0.1)]
    assert reranker_identity(config, [first]) != first
    server.field = "texts"
    assert reranker_identity(config, [first])["form"] == {"field": "texts", "raw": True}
    server.stop()
    assert reranker_identity(config, [first]) == first
    with pytest.raises(ServerError, match=r"rescore\.model .*cannot be reached"):
        reranker_identity(config, ())
    server.__init__()  # type: ignore[misc]  # so that the fixture can stop it again
    server.__enter__()


def test_refusals_end_with_what_may_help(server: FakeServer) -> None:
    server.faults = [Fault(422)] * 4
    with pytest.raises(ServerError, match=r"422: fault 422; if a text is too long .*lower rescore\.request_texts or"):
        reranker(server)
    server.faults = [Fault(401)]
    with pytest.raises(ServerError, match=r"401: fault 401; set rescore\.api_key_env"):
        reranker(server)
    assert len(server.posts("/rerank")) == 5


@pytest.mark.parametrize(
    ("by_documents", "by_texts", "said"),
    [
        ("the model cannot rerank", "`documents` is required", "400: the model cannot rerank; "),
        ("`texts` is required", "the model is no reranker", "400: the model is no reranker; "),
    ],
)
def test_the_reason_of_the_form_that_the_server_knows_is_told(
    server: FakeServer, by_documents: str, by_texts: str, said: str
) -> None:
    server.faults = [Fault(400, body=text.encode()) for text in (by_documents, by_texts) * 2]
    with pytest.raises(ServerError, match=said):
        reranker(server)
