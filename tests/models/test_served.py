"""Vectors of a served teacher: how texts are cut into requests, and which answers are refused."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.errors import ModelError, ServerError
from hnmine.models.served import (
    ServedEncoder,
    UnusableVector,
    request_batches,
    teacher_identity,
)
from tests.fake_server import HASH, Fault, served_teacher
from tests.support import WORDS

TEXTS = [f"{' '.join(WORDS[: 1 + at % 7])} {at}" for at in range(40)]


@given(
    st.lists(st.text("aé \n", max_size=60), max_size=30), st.integers(1, 8), st.integers(1, 40),
)  # fmt: skip
def test_requests_hold_every_text_once_within_their_limits(texts, most, tokens):
    batches = request_batches(texts, most, tokens)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(texts)))
    sizes = [max(1.0, len(text.encode()) / 4) for text in texts]
    order = [row for batch in batches for row in batch.tolist()]
    assert order == sorted(order, key=lambda row: (-sizes[row], row))
    for batch in batches:
        assert len(batch) <= most
        assert len(batch) == 1 or sum(sizes[row] for row in batch) <= tokens
    for one, following in itertools.pairwise(batches):  # no request could have taken the next text too
        assert len(one) == most or sum(sizes[row] for row in one) + sizes[following[0]] > tokens


@pytest.mark.parametrize("form", ["base64", "float"])
def test_vectors_are_those_of_the_model_with_the_prompt_of_their_kind(server, form):
    given = served_teacher(server, encoding_format=form, query_prompt="ask: ", request_texts=7, requests_in_flight=3)
    encoder = ServedEncoder(given)
    np.testing.assert_array_equal(encoder.encode(TEXTS, "document"), HASH.encode(TEXTS, "document"))
    assert len(server.posts()) == math.ceil(40 / 7)
    counts = encoder.take_counts()
    assert counts == {"requests": 6, "tokens": sum(len(text.split()) for text in TEXTS)}
    asked = HASH.encode([f"ask: {text}" for text in TEXTS[:3]], "document")
    np.testing.assert_array_equal(encoder.encode(TEXTS[:3], "query"), asked)
    assert encoder.take_counts()["requests"] == 1
    assert all(seen.body["model"] == "hash-model" for seen in server.posts())
    assert encoder.encode([], "query").shape == (0, 256)


def changed(at: int, **new):
    """Return a change of an answer: other values of one of its entries, counted by `index`."""

    def change(answer):
        data = sorted(answer["data"], key=lambda entry: entry["index"])
        data[at] |= new
        return answer | {"data": data}

    return Fault(change=change)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            Fault(change=lambda answer: answer | {"data": answer["data"][1:]}),
            r"and got 4 with the indices \[0, 1, 2, 3\]",
        ),
        (Fault(change=lambda answer: answer | {"data": answer["data"] * 2}), r"got 10 with the indices \[0, 0, 1"),
        (changed(0, index=7), r"asked for the vectors of 5 texts, and got 5 with the indices \[1, 2, 3, 4, 7\]"),
        (changed(1, embedding=[0.5] * 9), "a vector of 9 numbers for the text that begins '.*', where others have 256"),
        (changed(2, embedding=[0.5] * 255 + [None]), "holds numbers that are not finite"),
        (changed(2, embedding=[1e39] * 256), "holds numbers that are not finite"),
        (changed(2, embedding=[[0.5] * 256] * 2), r"no vector, but an array of shape \(2, 256\)"),
        (changed(0, embedding=[]), r"no vector, but an array of shape \(0,\)"),
    ],
)
def test_vectors_that_are_missing_or_unusable_are_refused(server, fault, message):
    server.faults = [fault]
    with pytest.raises(ModelError, match=rf"^embed\.model http://127\S* \(hash-model\): .*{message}") as error:
        ServedEncoder(served_teacher(server)).encode(TEXTS[:5], "document")
    if isinstance(error.value, UnusableVector):
        assert repr(TEXTS[error.value.place]) in str(error.value)


@pytest.mark.parametrize(
    "fault",
    [
        changed(0, embedding="no base64!"), changed(0, embedding="AAA="), changed(0, embedding=None),
        changed(0, embedding=["x"]), changed(0, index=None), changed(0, embedding={"values": [1]}),
        Fault(body=b'{"data": [1, 2, 3, 4, 5]}'), Fault(body=b"null"),
    ],
)  # fmt: skip
def test_what_is_no_vector_at_all_is_an_answer_of_another_shape(server, fault):
    server.faults = [fault]
    with pytest.raises((ServerError, ModelError), match=r"not an answer of /embeddings|no vector, but an array"):
        ServedEncoder(served_teacher(server)).encode(TEXTS[:5], "document")


def test_one_bad_answer_ends_the_requests_of_the_next_texts_too(server):
    encoder = ServedEncoder(served_teacher(server, request_texts=1, requests_in_flight=1))
    # what is sent after the refusal waits until the client has heard of it
    server.faults = [None, Fault(400), *[Fault(until=encoder.client._stopped.is_set)] * 9]
    first, following = encoder.prepare(TEXTS[:3], "document"), encoder.prepare(TEXTS[3:], "document")
    with pytest.raises(ServerError, match=r"400: fault 400; if a text is too long .*lower embed\.request_texts or"):
        first(lambda rows: None)
    with pytest.raises(ServerError, match="stopped after another request failed"):
        following(lambda rows: None)
    assert len(server.posts()) <= 3


@pytest.mark.parametrize("data", [[], [{"embedding": []}], [{"embedding": [None, 1.0]}], [{"embedding": [[1.0]]}]])
def test_a_model_whose_answer_to_the_probe_is_no_vector_is_an_error(server, data):
    server.faults = [Fault(change=lambda answer: {"data": data})]
    with pytest.raises(ServerError, match="not an answer of /embeddings"):
        teacher_identity(served_teacher(server), "embed", [])
