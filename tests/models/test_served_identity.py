"""What tells one served model from another, and what stands in for a server that does not answer."""

import math

import numpy as np
import pytest

from hnmine.errors import ModelError, ServerError
from hnmine.models import http_client
from hnmine.models.served import PROBE, ServedEncoder, teacher_identity
from hnmine.models.served_identity import TOLERANCE, listed_model
from tests.fake_server import HASH, served_teacher


def test_the_only_model_of_a_server_is_asked_for_and_of_several_one_must_be_named(server):
    assert ServedEncoder(served_teacher(server)).model == "hash-model"
    stated = {"backend": "torch", "created": 5, "stats": {"queue": 1}, "permission": [], "max_model_len": 512}
    server.models = [{"id": "b"} | stated, {"id": "a"}]
    with pytest.raises(ServerError, match=r"lists 2 models: a, b; name one in embed\.served_model"):
        ServedEncoder(served_teacher(server))
    named = served_teacher(server, served_model="b")
    assert listed_model(ServedEncoder(named).client, named, "embed") == (
        "b", {"id": "b", "backend": "torch", "max_model_len": 512},
    )  # fmt: skip
    server.models = None
    with pytest.raises(ServerError, match=r"lists no models; name one in embed\.served_model"):
        ServedEncoder(served_teacher(server))
    assert listed_model(ServedEncoder(named).client, named, "embed") == ("b", {})


def test_what_a_server_says_of_a_model_counts_where_it_is_plain(server):
    server.models = [
        {"id": "m", "root": "\ud800", "parent": "a\nb", "max_model_len": math.nan, "dtype": 10**400, "revision": "r 1"},
        {"id": "\x1b[31m"},
    ]
    given = served_teacher(server)
    assert listed_model(ServedEncoder(given).client, given, "embed") == (
        "m", {"id": "m", "dtype": 10**400, "revision": "r 1"},
    )  # fmt: skip
    server.models = [{"id": "a" * 5_000}, {"id": "b"}]
    with pytest.raises(ServerError, match=r"lists 2 models: a{97}\.\.\., b; name one in embed\.served_model"):
        ServedEncoder(given)


def test_a_model_is_known_again_through_noise_and_not_after_a_change(server):
    found = teacher_identity(served_teacher(server), "embed", [])
    assert found["model"] == "hash-model"
    assert server.posts()[0].body["input"] == [PROBE]
    rng = np.random.default_rng(0)
    vector = HASH.encode([PROBE], "document")

    def gives(changed):
        server.embed = lambda texts: np.repeat(changed, len(texts), axis=0)
        return teacher_identity(served_teacher(server), "embed", [found])

    noise = rng.normal(size=vector.shape)
    noise *= np.linalg.norm(vector) / np.linalg.norm(noise)
    assert gives(vector + 0.99 * TOLERANCE * noise) is found
    assert gives(vector + 1.01 * TOLERANCE * noise) != found
    assert gives(1.02 * vector) != found  # another length counts too: scores may be dot products
    assert gives(vector[:, :128]) != found
    server.models = [{"id": "hash-model", "owned_by": "tests", "backend": "other"}]
    assert gives(vector)["stated"] == {"id": "hash-model", "owned_by": "tests", "backend": "other"}
    other = teacher_identity(served_teacher(server), "embed", [])
    assert teacher_identity(served_teacher(server), "embed", [found, other]) is other


def test_a_known_model_stands_in_for_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_PAUSE", 0.001)
    found = teacher_identity(served_teacher(server), "embed", [])
    monkeypatch.delenv("NO_KEY", raising=False)
    assert teacher_identity(served_teacher(server, api_key_env="NO_KEY"), "embed", [found]) is found
    server.stop()
    assert teacher_identity(served_teacher(server), "embed", [found]) is found
    assert teacher_identity(served_teacher(server, served_model="hash-model"), "embed", [found]) is found
    for known, name in (([], None), ([found], "another")):
        with pytest.raises(ServerError, match="cannot be reached"):
            teacher_identity(served_teacher(server, served_model=name), "embed", known)
    assert teacher_identity(served_teacher(server), "embed", [found], ask=False) is found
    with pytest.raises(ModelError, match="the server was not asked"):
        teacher_identity(served_teacher(server), "embed", [], ask=False)


def test_a_list_of_models_in_another_shape_is_none(server):
    server.models = 5
    with pytest.raises(ServerError, match=r"lists no models; name one in embed\.served_model"):
        teacher_identity(served_teacher(server), "embed", [])
