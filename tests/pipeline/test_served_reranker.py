"""A real server: infinity with a tiny cross-encoder gives the scores of the same model loaded here."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hnmine.config.models import RescoreConfig
from hnmine.models.cross_encoders import ModelCrossEncoder
from hnmine.models.served_rerankers import ServedReranker, reranker_identity
from tests.pipeline import test_served_model
from tests.pipeline.test_served_model import INFINITY, Infinity
from tests.pipeline.tiny import save_tiny_cross_encoder
from tests.support import WORDS

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.model,
    pytest.mark.skipif(not INFINITY, reason="HNMINE_INFINITY names no infinity_emb; .ci/server makes one"),
]


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cross") / "model"
    save_tiny_cross_encoder(folder)
    # transformers 5 names a class that the server's version lacks, and gives this one no token types
    older = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"]}
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | older))
    return folder


@pytest.fixture(scope="module")
def server(cross: Path) -> Iterator[Infinity]:
    found = Infinity(cross.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_served_model, "local_model", lambda config: cross)
        found.start()
    yield found
    found.kill()


def test_a_served_cross_encoder_gives_the_raw_scores_of_the_same_model_loaded(cross: Path, server: Infinity) -> None:
    pairs = [(f"{WORDS[at // 9]} tide", " ".join(WORDS[at % 7 : 2 + at % 13]) + f" {at}") for at in range(60)]
    config = RescoreConfig(model=server.url, request_texts=4, retries=0)
    identity = reranker_identity(config, ())
    assert identity["form"] == {"field": "documents", "raw": True}
    served = ServedReranker(config, identity)
    loaded = ModelCrossEncoder(RescoreConfig(model=str(cross), device="cpu"))
    np.testing.assert_allclose(served.score(pairs), loaded.score(pairs), atol=2e-6)
    assert served.take_counts()["requests"] == 6 * 3 + 2  # nine documents a query in threes, six of the last
    assert reranker_identity(config, [identity]) == identity
