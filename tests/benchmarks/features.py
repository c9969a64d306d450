"""What further evidence adds to the calibrated rule: BM25, and a second teacher.

    python -m tests.benchmarks.features DATA [--only NAME ...]

For every collection with enough labels: the share of false negatives at the 95 % margin's hardness as a multiple of
the margin's own, out of fold, with the rule's features, with groups of them left out, and with further ones. The
second teacher is latent semantic analysis (TF-IDF, 200 dimensions). Needs bm25s.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.science.calibration import fit
from hnmine.science.hidden_positives import fold_of
from hnmine.science.z_scores import group_z_scores
from hnmine.stages.filter.calibration import FOLDS, KeptCells
from hnmine.stages.filter.candidates import Cells
from hnmine.stages.filter.features import NAMES, features
from hnmine.stages.filter.hidden_positives import (
    ENOUGH_HIDDEN,
    ENOUGH_QUERIES,
    MOST_QUERIES,
    HiddenRows,
    count_usable,
    hidden_rows,
)
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from tests.benchmarks.collections import Mined, mined
from tests.benchmarks.false_negatives import threshold_as_hard, with_rule
from tests.benchmarks.measure import argument_parser

WORDS = {"query_words", "query_words_in_list", "positive_words", "positive_words_in_list"}
NEAR_LABELS = {"near_label", "near_label_share", "near_label_share_in_list"}
DOCUMENT_SIDE = {"similarity", "similarity_in_list", "both_in_list", "similarity_to_anchor"}


class Given:
    """A model whose probabilities are known already, batch by batch."""

    threshold = np.inf

    def __init__(self, rows: list[HiddenRows], values: list[np.ndarray]) -> None:
        self.values = {id(part.batch): value for part, value in zip(rows, values, strict=True)}

    def probabilities(self, batch: Any, cells: Cells) -> np.ndarray:
        return self.values[id(batch)][cells.candidate]


def lsa(corpus: list[str], queries: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of documents and queries by latent semantic analysis."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2)
    counts = words.fit_transform(corpus)
    svd = TruncatedSVD(200, random_state=0).fit(counts)
    return normalize(svd.transform(counts)), normalize(svd.transform(words.transform(queries)))


def bm25(corpus: list[str], texts: list[str], wanted: list[np.ndarray]) -> list[np.ndarray]:
    """Return the BM25 scores of each text to its wanted documents."""
    import bm25s

    index = bm25s.BM25()
    index.index(bm25s.tokenize(corpus, stopwords="en", show_progress=False), show_progress=False)
    found = []
    for text, rows in zip(texts, wanted, strict=True):
        tokens = bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0]
        known = [token for token in tokens if token in index.vocab_dict]
        found.append(index.get_scores(known)[rows] if known else np.zeros(len(rows)))
    return found


def further(one: Mined, rows: list[HiddenRows]) -> dict[str, list[np.ndarray]]:
    """Return two columns for each kind of further evidence, each also standardised within the query's candidates."""
    ingest = one.context.folder("ingest")
    corpus = Shards(ingest / "corpus", CORPUS).column("text").to_pylist()
    queries = Shards(ingest / "queries", QUERIES).column("text").to_pylist()
    documents, asked = lsa(corpus, queries)
    out: dict[str, list[np.ndarray]] = {"BM25": [], "second teacher": []}
    for part in rows:
        batch = part.batch
        lists = np.split(batch.candidates.values, batch.candidates.offsets[1:-1])
        columns = [
            np.concatenate(bm25(corpus, [queries[row] for row in batch.query_rows], lists)),
            np.concatenate(bm25(corpus, [corpus[row] for row in batch.positives.values], lists)),
        ]
        out["BM25"].append(widened(columns, batch))
        candidate = documents[batch.candidates.values]
        columns = [
            np.einsum("nd,nd->n", candidate, asked[batch.query_rows][batch.owners]),
            np.einsum("nd,nd->n", candidate, documents[batch.positives.values][batch.owners]),
        ]
        out["second teacher"].append(widened(columns, batch))
    return out


def widened(columns: list[np.ndarray], batch: Any) -> np.ndarray:
    z = [group_z_scores(column, batch.owners, ~batch.is_positive, len(batch)) for column in columns]
    return np.stack([*columns, *z], axis=1)


def rate(one: Mined, rows: list[HiddenRows], x: list[np.ndarray]) -> float:
    """Return the out-of-fold share of false negatives at the 95 % margin's hardness, with the given features."""
    others = [~part.batch.is_positive for part in rows]
    fold = [fold_of(part.batch.query_rows, FOLDS, one.config.seed)[part.batch.owners] for part in rows]
    all_x = np.concatenate([a[keep] for a, keep in zip(x, others, strict=True)])
    y = np.concatenate([part.is_hidden[keep] for part, keep in zip(rows, others, strict=True)])
    folds = np.concatenate([f[keep] for f, keep in zip(fold, others, strict=True)])
    models = [fit(all_x[folds != number], y[folds != number]) for number in range(FOLDS)]
    values = []
    for a, f in zip(x, fold, strict=True):
        p = np.zeros(len(a))
        for number, model in enumerate(models):
            p[f == number] = model.predict(a[f == number], np.zeros(int((f == number).sum()), dtype=np.int64))
        values.append(p)
    n = one.config.emit.num_negatives
    margin = KeptCells.of(rows, with_rule(one, "percent", percent=0.95).filter, None).outcome(np.inf, n)
    kept = KeptCells.of(rows, with_rule(one, "none").filter, Given(rows, values))
    return kept.outcome(threshold_as_hard(kept, margin.score, n), n).rate / margin.rate


def compare(one: Mined, several: int) -> dict[str, float]:
    """Return the ratio of each set of features on one collection."""
    rows = list(hidden_rows(one.pieces, one.config, MOST_QUERIES / several))
    own = [features(part.batch, Cells.of(part.batch, part.batch.positive_scores)) for part in rows]

    def without(left_out: set[str]) -> list[np.ndarray]:
        return [part[:, [name not in left_out for name in NAMES]] for part in own]

    found = {"own features": rate(one, rows, own)}
    found["without words"] = rate(one, rows, without(WORDS))
    found["without the document side"] = rate(one, rows, without(DOCUMENT_SIDE))
    found["without labels of near queries"] = rate(one, rows, without(NEAR_LABELS))
    more = further(one, rows)
    for name, columns in more.items():
        found[f"with {name}"] = rate(one, rows, [np.hstack(pair) for pair in zip(own, columns, strict=True)])
    everything = [np.hstack(parts) for parts in zip(own, *more.values(), strict=True)]
    found["with both"] = rate(one, rows, everything)
    return found


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as work:
        for one in mined(options.data, Path(work), options.only):
            _, several, hidden = count_usable(one.pieces)
            if several < ENOUGH_QUERIES or hidden < ENOUGH_HIDDEN:
                continue
            for name, value in compare(one, several).items():
                ratios.setdefault(name, []).append(value)
                print(f"| {one.name} | {name} | {value:.2f} |", flush=True)
    for name, values in ratios.items():
        print(f"{name}: geometric mean of ratios {np.exp(np.mean(np.log(values))):.3f}")


if __name__ == "__main__":
    main()
