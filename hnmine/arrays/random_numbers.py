"""Random numbers, samples and permutations that depend on seeds and positions alone, never on order or batches."""

import numpy as np

_ROUNDS = 6
# Half the bits of the smallest permutation network: smaller ones are visibly uneven.
_FEWEST_BITS = 4
_QUERY, _DOCUMENT = np.uint64(0x7261_6E71), np.uint64(0x7261_6E64)
_STEP = np.uint64(0x9E3779B97F4A7C15)


def random_numbers(seeds: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return a random uint64 for each item, from its seed and itself alone: SplitMix64 of both.

    The n items of a group with the smallest numbers are a uniform sample without replacement, whatever the order, the
    batch or the shard. Steele, Lea and Flood, OOPSLA 2014.

    Args:
        seeds: uint64, of a shape that broadcasts with that of the items: (m, 1) and (n,) give (m, n).
        items: int64, not negative.
    """
    return _mix(_mix(seeds) ^ _mix(items.astype(np.uint64) + _STEP))


def _mix(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.asarray(x + _STEP)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
        return z


def permuted(seeds: np.ndarray, positions: np.ndarray, size: int) -> np.ndarray:
    """Return the numbers at given positions of 0 .. size - 1 as permuted by a seed; int64, shape (n,).

    Each seed has its own permutation, any position of which is computed without the others: a Feistel network (Luby
    and Rackoff, SIAM Journal on Computing 17, 1988) over a power of 4 that is at least `size`, applied until the
    result is below `size` (cycle walking: Black and Rogaway, CT-RSA 2002). `random_numbers` gives its round keys.

    Args:
        seeds: uint64, shape (n,).
        positions: int64, shape (n,), in [0, size).
        size: below 2^62.
    """
    half = max(_FEWEST_BITS, ((size - 1).bit_length() + 1) // 2)
    out = positions.astype(np.int64)
    todo = np.arange(len(out))
    while len(todo):
        out[todo] = _feistel(seeds[todo], out[todo], half)
        todo = todo[out[todo] >= size]
    return out


def _feistel(seeds: np.ndarray, numbers: np.ndarray, half: int) -> np.ndarray:
    """Permute the numbers below 4^half."""
    mask = (1 << half) - 1
    left, right = numbers >> half, numbers & mask
    for number in range(_ROUNDS):
        key = random_numbers(seeds, (number << half) | right) & np.uint64(mask)
        left, right = right, left ^ key.astype(np.int64)
    return (left << half) | right


def sample_rows(rows: int, size: int, seed: int, salt: int = 0x6261636B) -> np.ndarray:
    """Return a random sample of the rows 0 .. rows - 1 without replacement; ascending int64, shape (min(size, rows),).

    The seed is not negative. Samples of one seed and different salts are independent.
    """
    generator = np.random.default_rng([seed, salt])
    return np.sort(generator.choice(rows, size=min(size, rows), replace=False)).astype(np.int64)


def sample_share(rows: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return whether each row (int64) is in a random sample of about a given share of all rows; bool.

    Each row is decided by itself, so that a sample can be taken shard by shard. A share of 1 or more takes all. The
    seed is in [0, 2^63).
    """
    numbers = random_numbers(np.full(len(rows), seed ^ 0x7368, dtype=np.uint64), rows)
    return below_share(numbers, share)


def below_share(numbers: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Return which random numbers (uint64) are in the lowest share of all uint64; one share, or one a number; bool."""
    return np.asarray(numbers.astype(np.float64) < share * 2.0**64)


def sample_stable(rows: int, size: int, seed: int) -> np.ndarray:
    """Return a sample as `sample_rows` does, most of which stays the same when rows are added at the end."""
    numbers = random_numbers(np.full(rows, seed ^ 0x6F76, dtype=np.uint64), np.arange(rows))
    return np.sort(np.argsort(numbers, kind="stable")[:size])


def random_pairs(queries: int, documents: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of `count` random queries and documents, drawn with replacement; int64, shape (count,) each.

    There is at least one query and one document; the seed is in [0, 2^63).
    """
    items = np.arange(count)
    first, second = (np.full(count, np.uint64(seed) ^ salt, dtype=np.uint64) for salt in (_QUERY, _DOCUMENT))
    query = random_numbers(first, items) % np.uint64(queries)
    document = random_numbers(second, items) % np.uint64(documents)
    return query.astype(np.int64), document.astype(np.int64)
