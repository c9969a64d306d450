from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.config.retrieve import SourceConfig
from hnmine.errors import MissingExtra
from hnmine.search import bm25
from hnmine.search.bm25 import BM25Index, build_index, stems, words_of
from hnmine.storage.store import write_table
from tests import oracles

WORDS = ["reef", "sand", "tide", "kelp", "opal"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=7)


def source(**settings):
    return SourceConfig(kind="bm25", **{"stem": False, **settings})


def index(folder: Path, documents, own):
    path = folder / "bm25.parquet"
    write_table(build_index([documents[:2], documents[2:]], own, path, lambda rows: None), path, "key")
    return BM25Index(path, own, len(documents))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bm25")


@given(texts, texts, st.sampled_from([0.0, 0.9, 1.5]), st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 8))
def test_scores_are_the_formulas_and_ties_go_by_row(folder, documents, queries, k1, b, k):
    found = index(folder, documents, source(k1=k1, b=b)).search(queries, np.full(len(queries), k))
    for number, query in enumerate(queries):
        own = slice(found.rows.offsets[number], found.rows.offsets[number + 1])
        rows, scores = found.rows.values[own].tolist(), found.scores[own]
        if not any(documents):
            assert rows == []
            continue
        expected = oracles.bm25(query.split(), [d.split() for d in documents], k1, b)
        assert len(rows) == min(k, sum(score > 0 for score in expected))
        np.testing.assert_allclose(scores, [expected[row] for row in rows], rtol=1e-5)
        assert rows == sorted(rows, key=lambda row: (-scores[rows.index(row)], row))
        left = [score for row, score in enumerate(expected) if row not in rows]
        assert not rows or all(score <= scores[-1] * (1 + 1e-5) for score in left)


def test_a_word_that_stands_twice_in_a_query_counts_twice_and_an_unknown_one_nothing(folder):
    own = index(folder, ["reef sand", "tide tide"], source())
    once, twice = own.search(["tide", "tide nowhere tide"], np.array([2, 2])).scores
    assert twice == pytest.approx(2 * once)


def test_stop_words_and_single_letters_are_no_words():
    assert words_of(source())("The reef and the X of a TIDE, 42!") == ["reef", "tide", "42"]
    assert words_of(source(language="none"))("The reef x") == ["the", "reef"]
    assert words_of(source(language="german"))("Der Sand und das Riff") == ["sand", "riff"]


def test_stems_where_pystemmer_is_there():
    pytest.importorskip("Stemmer", reason="PyStemmer is not installed")
    assert stems(SourceConfig(kind="bm25"))
    assert words_of(SourceConfig(kind="bm25"))("reefs and tides") == ["reef", "tide"]
    assert words_of(source())("reefs and tides") == ["reefs", "tides"]


def test_stems_without_pystemmer(monkeypatch):
    monkeypatch.setattr(bm25.importlib.util, "find_spec", lambda name: None)
    assert not stems(SourceConfig(kind="bm25"))
    with pytest.raises(MissingExtra, match=r"hnmine\[stemming\]"):
        stems(SourceConfig(kind="bm25", stem=True))
