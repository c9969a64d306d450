"""Conflicts are those that plain loops over the filter's own judgement find."""

import numpy as np
import pytest

from hnmine import run
from hnmine.arrays.ragged import Ragged
from hnmine.arrays.text_hashes import terms
from hnmine.config.filter import FilterConfig
from hnmine.runtime.stage import RunContext
from hnmine.search.word_overlap import CorpusWords
from hnmine.stages.emit.batches import step
from hnmine.stages.emit.batches.conflicts import ConflictFinder, distinct, pair_filter, word_overlaps
from hnmine.stages.filter.candidates import Batch
from hnmine.stages.filter.features import NAMES
from hnmine.stages.filter.inputs import FilterInputs, read_calibration
from hnmine.stages.filter.verdicts import give_verdicts
from hnmine.storage.schemas.filter import VERDICTS
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from hnmine.storage.vectors import VectorStore
from tests import oracles
from tests.support import config_for, make_collection

LABELS = {"positive", "sibling_positive", "judged_relevant", "copy_of_positive", "copy_of_query"}
HARMLESS = {"keep", "copy_of_negative"}


class Oracle:
    """Says of one query, one anchor and one document whether the query bars it, one number at a time."""

    def __init__(self, context, rule):
        self.rule, config = rule, context.config
        folder = context.folder
        self.scorer = read_calibration(folder("filter"), config.seed)
        self.state = FilterInputs.open(context, self.scorer, deeper=True)
        self.table = self.state.read(0)
        self.documents = VectorStore(folder("embed") / "corpus").gather(np.arange(self.state.documents.size))
        self.queries = VectorStore(folder("embed") / "queries").gather(np.arange(self.table.num_rows))
        self.unit = self.documents / np.linalg.norm(self.documents, axis=1, keepdims=True)
        texts = Shards(folder("ingest") / "corpus", CORPUS).column("text").to_pylist()
        asked = Shards(folder("ingest") / "queries", QUERIES).column("text").to_pylist()
        self.words = [set(terms(text).tolist()) for text in texts]
        self.asked = [set(terms(text).tolist()) for text in asked]
        self.idf = CorpusWords(folder("ingest")).idf
        queries = Shards(folder("ingest") / "queries", QUERIES)
        lists = (queries.column(name).to_pylist() for name in ("positive_rows", "sibling_rows"))
        self.labels = [[*own, *siblings] for own, siblings in zip(*lists, strict=True)]

    def weight(self, words):
        return sum(self.idf[word] for word in words)

    def verdict(self, query, anchor, document):
        """Return the filter's verdict on a candidate; None for what was not retrieved."""
        batch = Batch.from_table(self.table.slice(query, 1))
        at = np.flatnonzero(batch.candidates.values == document)
        if not len(at):
            return None
        found = give_verdicts(batch, self.rule, self.state.keys(np.array([query])), self.scorer)
        cell = np.flatnonzero((found.cells.anchor == anchor) & (found.cells.candidate == at[0]))
        return list(VERDICTS)[found.codes[cell[0]]]

    def bars_far(self, query, anchor, document):
        """Tell whether a document that was not retrieved is rejected."""
        batch = Batch.from_table(self.table.slice(query, 1))
        positives = batch.positives.values
        score = float(self.queries[query] @ self.documents[document])
        cosines = [float(self.unit[p] @ self.unit[document]) for p in positives]
        if max(cosines) > self.rule.max_positive_similarity or score > self.rule.max_query_similarity:
            return True
        counted = ~np.isin(batch.candidates.values, positives)
        own = self.words[document]
        coverage = self.weight(own & self.asked[query]) / self.weight(self.asked[query])
        overlaps = [self.weight(own & self.words[p]) / self.weight(own | self.words[p]) for p in positives]
        near = batch.near_queries.values.tolist(), batch.nearness.tolist()
        (nearest,), (share,) = oracles.near_labels([[document]], [near[0]], [near[1]], self.labels)
        z = []
        values = (score, max(cosines), coverage, max(overlaps), share)
        lists = (batch.scores, batch.similarity, batch.query_overlaps, batch.overlap, batch.near_label_shares)
        for value, listed in zip(values, lists, strict=True):
            known = [float(one) for one in listed[counted]]
            spread = np.std(known)
            z.append((max(value, min(known)) - np.mean(known)) / spread if spread > 1e-6 else 0.0)
        if self.rule.rule == "two_sided":
            return z[0] + z[1] > self.rule.two_sided
        mean, std = float(batch.background_mean[0]), float(batch.background_std[0])
        far = zip(cosines, batch.positive_background_mean, batch.positive_background_std, strict=True)
        similar = max((c - float(m)) / float(s) for c, m, s in far)
        s, s_plus = (score - mean) / std, (float(batch.positive_scores.values[anchor]) - mean) / std
        rank = 1 + sum(one > score for one in batch.scores)
        evidence = (s, s - s_plus, s_plus, similar, np.log(rank), z[0], z[1], z[0] * z[1], similar - s_plus,
                    coverage, z[2], max(overlaps), z[3], nearest, share, z[4])  # fmt: skip
        assert len(evidence) == len(NAMES)
        return self.scorer.of_features(np.array([evidence]))[0] > self.scorer.threshold

    def is_positive(self, query, document):
        return document in Batch.from_table(self.table.slice(query, 1)).positives.values.tolist()

    def bars(self, query, anchor, positive, negatives):
        if any(self.is_positive(query, document) for document in (positive, *negatives)):  # also beyond the candidates
            return True
        found = self.verdict(query, anchor, positive)
        if self.bars_far(query, anchor, positive) if found is None else found not in HARMLESS:
            return True
        # labels and texts bar negatives too, the calibrated model those that are candidates
        bad = LABELS | ({"calibrated"} if self.rule.rule == "calibrated" else set())
        return any(self.verdict(query, anchor, negative) in bad for negative in negatives)


@pytest.mark.parametrize("rule", ["percent", "calibrated"])
def test_conflicts_are_those_of_plain_loops(tmp_path, rule):
    make_collection(tmp_path, 160, 120)
    asked = {"rule": rule, "max_false_negative_rate": 0.05} if rule == "calibrated" else {}
    emit = {"batch_size": 4, "num_negatives": 2}
    config = config_for(tmp_path, emit=emit, retrieve={"top_k": 25}, filter=asked)
    run(config, ("ingest", "embed", "index", "retrieve", "filter", "emit"))
    context = RunContext(config, config.out_folder)
    every = step.read_examples(context)
    finder = ConflictFinder(context, np.unique(every.query_row))
    assert finder.filter.rule == {"percent": "two_sided"}.get(rule, rule)
    oracle = Oracle(context, finder.filter)
    which = np.random.default_rng(3).permutation(len(every))[:36]
    examples = every.take(which)
    found = finder.conflicts(examples)
    expected = np.zeros_like(found)
    near = 0
    for i in range(len(which)):
        for j in range(len(which)):
            query, positive = examples.query_row[i], examples.positive_row[j]
            anchor = examples.anchor[i] - finder.statistics.anchors.offsets[query]
            negatives = examples.negative_rows.take(np.array([j])).values
            near += oracle.verdict(query, anchor, positive) is not None
            if i != j and oracle.bars(query, anchor, positive, negatives):
                expected[i, j] = expected[j, i] = True
    wrong = [(int(i), int(j), bool(found[i, j])) for i, j in np.argwhere(found != expected) if i < j]
    assert not wrong, wrong
    assert near > len(which) + 20, "some positives of others are candidates"
    assert 0.02 < expected.mean() < 0.9
    batches = np.asarray(step.read_batches(context.folder("emit")).column("batch_id"))[which]
    assert not (expected & (batches[:, None] == batches)).any()


def test_a_model_of_other_scores_is_not_asked():
    class Fitted:
        takes_teacher_scores = False

    class Transferred:
        takes_teacher_scores = True

    config = FilterConfig(rule="calibrated", ranks=(1, 9))
    rules = [pair_filter(config, model, replaced=yes).rule
             for model in (None, Fitted(), Transferred()) for yes in (False, True)]  # fmt: skip
    assert rules == ["two_sided", "two_sided", "calibrated", "two_sided", "calibrated", "calibrated"]
    assert pair_filter(config, None, replaced=False).ranks is None


def test_words_shared_are_those_of_plain_sets():
    rng = np.random.default_rng(0)
    idf = rng.random(30)
    sides = [[set(rng.choice(30, size, replace=False).tolist()) for size in sizes] for sizes in ([3, 0, 9], [5, 8])]
    lists = [Ragged.from_lengths(np.array([w for one in side for w in sorted(one)], dtype=np.int32),
                                 np.array([len(one) for one in side])) for side in sides]  # fmt: skip
    covered, both = word_overlaps(lists[0], lists[0], lists[1], idf)
    for i, text in enumerate(sides[0]):
        for j, document in enumerate(sides[1]):
            common, either = (sum(idf[w] for w in words) for words in (text & document, text | document))
            total = sum(idf[w] for w in text)
            assert covered[i, j] == pytest.approx(common / total if total else 0)
            assert both[i, j] == pytest.approx(common / either)


def test_distinct_keeps_the_order():
    values, place = distinct(np.array([7, 3, 7, 1, 3]))
    assert values.tolist() == [7, 3, 1]
    assert place.tolist() == [0, 1, 0, 2, 1]
