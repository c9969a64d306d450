"""Split of queries into those to train on and those to test on."""

import numpy as np

from hnmine.arrays.ragged import Ragged


def split_queries(positives: Ragged, share: float, seed: int) -> np.ndarray:
    """Return whether each query is on the training side; bool, shape (queries,).

    Queries that share a positive, directly or through others, stay on one side, so that no test query has a relevant
    document that a student was trained to rank high. Such groups are drawn at random, and each goes to the side that
    lacks most of its share, the first of several to the training side; so the sides have about the given shares, save
    where one group is larger than a side. With a single group there is no test query.

    Args:
        positives: labelled positives of each query.
        share: share of the queries to train on, in (0, 1).
        seed: not negative; it decides the order of the groups.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    queries = len(positives)
    _, documents = np.unique(positives.values, return_inverse=True)
    size = queries + int(documents.max(initial=-1)) + 1
    edges = csr_array((np.ones(len(documents)), (positives.owners, queries + documents)), shape=(size, size))
    groups, label = connected_components(edges, directed=False)
    label = label[:queries]
    sizes = np.bincount(label, minlength=groups)
    train, trained, tested = np.zeros(groups, dtype=bool), 0, 0
    for group in np.random.default_rng([seed, 0x73706C69]).permutation(np.unique(label)).tolist():
        train[group] = (1 - share) * trained <= share * tested
        trained, tested = trained + train[group] * sizes[group], tested + (not train[group]) * sizes[group]
    return np.asarray(train[label])
