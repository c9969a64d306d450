"""Oracles: every formula as plain loops over Python numbers, slow, obvious and independent of `hnmine.science`.

Rules compare scores in float32, as the teacher gives them, one scalar at a time.
"""

import math
from fractions import Fraction

import numpy as np

from hnmine.arrays.random_numbers import random_numbers
from hnmine.storage.schemas.filter import VERDICTS


def anchor(scores, how, quantile=0.25):
    if how == "min":
        return min(scores)
    if how == "max":
        return max(scores)
    if how == "mean":
        return sum(scores) / len(scores)
    ordered = sorted(scores)
    place = quantile * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def anchors(lists, how, quantile=0.25):
    if how == "each":
        return [list(scores) for scores in lists]
    return [[anchor(scores, how, quantile)] for scores in lists]


def keeps_absolute(s, lowest, highest):
    if lowest is not None and np.float32(s) < np.float32(lowest):
        return False
    return highest is None or np.float32(s) <= np.float32(highest)


def keeps_margin(s, positive, m):
    return bool(np.float32(s) <= np.float32(positive) - np.float32(m))


def keeps_percent(s, positive, p):
    positive = np.float32(positive)
    return bool(np.float32(s) <= positive - np.float32(1 - p) * abs(positive))


def keeps_adaptive(s, positive, floor, m):
    lead = np.float32(positive) - np.float32(floor)
    return bool(np.float32(s) <= np.float32(positive) - np.float32(m) * (lead if lead > 0 else np.float32(0)))


def keeps_guide(g, positive, m):
    return not np.float32(g) > np.float32(positive) - np.float32(m)


def keeps_multi_similarity(s, positives, epsilon):
    # above the line of one positive is above that of the lowest
    return any(np.float32(s) > np.float32(positive) - np.float32(epsilon) for positive in positives)


def positive_probability(positive, negatives, temperature):
    highest = max([positive, *negatives])
    parts = [math.exp((s - highest) / temperature) for s in (positive, *negatives)]
    return parts[0] / sum(parts)


def hub_normalised(s, others, beta):
    """s less the soft maximum of a document's scores to the other queries of the bank; s where there are none."""
    if not others:
        return s
    highest = max(others)
    return s - highest - math.log(sum(math.exp(beta * (x - highest)) for x in others) / len(others)) / beta


def keeps_rank(rank, first, last):
    return rank in range(first, last + 1)


def background(row, excluded):
    counted = [value for value, out in zip(row, excluded, strict=True) if not out] or list(row)
    mean = sum(counted) / len(counted)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in counted) / len(counted))


def topk(scores, k):
    """Rows of the k best of one query's scores, best first, ties by row."""
    return sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]


def repeated(groups, keys):
    out = []
    for place, (group, key) in enumerate(zip(groups, keys, strict=True)):
        out.append(any(groups[i] == group and keys[i] == key for i in range(place)))
    return out


def choose(groups, priority, n):
    chosen = []
    for group in sorted(set(groups)):
        members = [place for place, other in enumerate(groups) if other == group]
        if priority is not None:
            members.sort(key=lambda place: (priority[place], place))
        chosen += members[:n]
    return sorted(chosen)


def positive_percentile(score, others):
    return sum(other < score for other in others) / len(others) if others else 1.0


def positive_weight(share, quantile):
    return 1.0 if quantile == 0 else min(1.0, share / quantile)


def judged_first(groups, judged, priority, n):
    chosen = []
    for group in sorted(set(groups)):
        members = [place for place, other in enumerate(groups) if other == group]
        members.sort(key=lambda place: (not judged[place], 0 if priority is None else priority[place], place))
        chosen += members[:n]
    return sorted(chosen)


def choose_capped(groups, documents, n, cap, used):
    chosen = []
    for place, (group, document) in enumerate(zip(groups, documents, strict=True)):
        in_group = sum(groups[other] == group for other in chosen)
        before = used.get(document, 0) + sum(documents[other] == document for other in chosen)
        if in_group < n and before < cap:
            chosen.append(place)
    return chosen


def is_easy(now, first, ratio, below):
    if now >= below:
        return False
    if first >= 0:
        return ratio * now < first
    return first - now > (1 - 1 / ratio) * abs(first)


def best_kept(rows, room, cap, before):
    """Return the places, over all rows one after another, of the (document, score) that stay."""
    used, kept, first = dict(before), [], 0
    for row, wanted in zip(rows, room, strict=False):
        served = []
        for place in sorted(range(len(row)), key=lambda i: (-row[i][1], i)):
            document = row[place][0]
            if len(served) < wanted and (cap is None or used.get(document, 0) < cap):
                served.append(first + place)
                used[document] = used.get(document, 0) + 1
        kept += sorted(served)
        first += len(row)
    return kept


def round_robin(groups, ranks, n, documents=None, cap=None):
    """Sources take turns, group by group; a document that served `cap` times before is passed over."""
    chosen = []
    for group in sorted(set(groups)):
        members = [place for place, other in enumerate(groups) if other == group]
        if cap is not None:
            served = [documents[place] for place in chosen]
            members = [place for place in members if served.count(documents[place]) < cap]
        own, went_round = [], True
        while went_round and len(own) < n:
            went_round = False
            for source in range(len(ranks[0])):
                left = [place for place in members if ranks[place][source] and place not in own]
                if left and len(own) < n:
                    own.append(min(left, key=lambda place, s=source: ranks[place][s]))
                    went_round = True
        chosen += sorted(own)
    return chosen


def simans_arrival(distance, number, a, b):
    """Logarithm of the time at which an element arrives that is drawn with rate exp(-a (distance - b)^2)."""
    u = (int(number) // 2**12 + 0.5) / 2**52
    return math.log(-math.log(u)) + a * (distance - b) ** 2


def quantile_strata(groups, scores, count):
    found = []
    for group, score in zip(groups, scores, strict=True):
        own = [other for g, other in zip(groups, scores, strict=True) if g == group]
        found.append(int(count * sum(other > score for other in own) / len(own)))
    return found


def take_in_turn(groups, strata, numbers, n, first):
    """The least used stratum gives its next, judged ones before all others; the higher scores' stratum among equals."""
    chosen = []
    for group in sorted(set(groups)):
        own = []
        while len(own) < n:
            left = [p for p, other in enumerate(groups) if other == group and p not in own]
            left = [p for p in left if first[p]] or left
            if not left:
                break
            used = [strata[p] for p in own]
            own.append(min(left, key=lambda p, used=used: (used.count(strata[p]), strata[p], numbers[p])))
        chosen += own
    return sorted(chosen)


def mixtures(seed, count, pairs, query_pairs):
    def number(item):
        return int(random_numbers(np.array([seed], np.uint64), np.array([item]))[0])

    total, found = pairs + query_pairs, []
    for place in range(total):
        i, j, share = (number(place + total * part) for part in range(3))
        alpha = ((share >> 41) + 0.5) / 2**23
        if place < pairs and count >= 2:
            others = [other for other in range(count) if other != i % count]
            found.append((i % count, others[j % (count - 1)], alpha))
        elif place >= pairs and count >= 1:
            found.append((-1, j % count, alpha / 2))
    return found


def marginal_relevance(groups, relevance, similarity, n, diversity):
    """similarity(i, j) of two positions."""
    chosen = []
    for group in sorted(set(groups)):
        own = []
        for _ in range(n):
            best = None
            for place, other in enumerate(groups):
                if other != group or place in own:
                    continue
                value = (1 - diversity) * relevance[place]
                if own:
                    value -= diversity * max(similarity(place, i) for i in own)
                if best is None or value > best[0]:
                    best = value, place
            if best is not None:
                own.append(best[1])
        chosen += own
    return sorted(chosen)


def further_positives(entries, most):
    """entries: (query, query's text, document, document's text, P); returns the positions, by query and then by P."""
    best = sorted(range(len(entries)), key=lambda i: (-entries[i][4], entries[i][0], entries[i][2]))
    seen, counts, picked = set(), {}, []
    for i in best:
        query, text, _, copy, _ = entries[i]
        if (text, copy) not in seen:
            seen.add((text, copy))
            if counts.setdefault(query, 0) < most:
                counts[query] += 1
                picked.append(i)
    return sorted(picked, key=lambda i: (entries[i][0], -entries[i][4], entries[i][2]))


def draw_documents(orders, wanted, names, barred, closed=()):
    """orders: for each group, all documents in the order they are offered to it."""
    found = []
    for group, order in enumerate(orders):
        taken = {name for other, name in barred if other == group}
        left = wanted[group]
        for row in order:
            if left and names[row] not in taken and row not in closed:
                taken.add(names[row])
                found.append((group, row))
                left -= 1
    return found


def capacity(k):
    return math.log(1 + k)


def clip(x):
    return min(1.0, max(0.0, x))


def hardness(s, positive, s0):
    if positive <= s0:
        return 1.0 if s >= positive else 0.0
    return clip((s - s0) / (positive - s0))


def safety(hardest, positive, s0, delta=0.05):
    if positive <= s0:
        return 0.0
    return clip((positive - hardest) / (delta * (positive - s0)))


def eci(c, h, s):
    return 0.0 if h + s == 0 else c * 2 * h * s / (h + s)


def residual_weight(consistency, locality, overlap):
    return clip(consistency) * clip(locality) * clip(1 - overlap)


def eci_sem(residuals, weights):
    """ln det(I + sum w r r^T) as the paper writes it: a matrix of d x d, by numpy's determinant."""
    matrix = np.eye(len(residuals[0]) if len(residuals) else 1)
    for r, w in zip(residuals, weights, strict=True):
        matrix += w * np.outer(r, r)
    return math.log(np.linalg.det(matrix))


def bootstrap_ratios(top, bottom, draws):
    """Ratios of sums over resamples: draws has a list of row numbers for each."""
    out = []
    for rows in draws:
        below = sum(bottom[row] for row in rows)
        out.append(sum(top[row] for row in rows) / below if below else math.nan)
    return out


def agreement(sets, groups):
    """For each group (items that all sets have, items that any has); sets are lists of (group, item)."""
    out = []
    for group in range(groups):
        own = [{item for g, item in rows if g == group} for rows in sets]
        out.append((len(set.intersection(*own)), len(set.union(*own))))
    return out


def mean(values):
    """Mean of the numbers that there are; None without any."""
    real = [value for value in values if value is not None]
    return sum(real) / len(real) if real else None


def anchor_quality(positive, scores, s0):
    """The numbers of one anchor whose chosen negatives have the given scores."""
    c = capacity(len(scores))
    out = {"chosen": float(len(scores)), "capacity": c, "eci": 0.0}
    if not scores:
        return out | dict.fromkeys(("negative_score", "margin", "hardness", "safety"))
    h, s = mean([hardness(score, positive, s0) for score in scores]), safety(max(scores), positive, s0)
    return out | {
        "negative_score": mean(scores),
        "margin": positive - max(scores),
        "hardness": h,
        "safety": s,
        "eci": eci(c, h, s),
    }


def query_quality(query, positives, chosen, verdicts):
    """The numbers of one query: positives are its anchor scores, chosen and verdicts have one list an anchor."""
    scores = [[query.scores[place] for place in places] for places in chosen]
    rows = [anchor_quality(p, s, query.background) for p, s in zip(positives, scores, strict=True)]
    return {name: mean([row[name] for row in rows]) for name in rows[0]} | {
        "kept": mean([row.count("keep") for row in verdicts]),
        "candidates": sum(document not in query.positives for document in query.candidates),
        "positives": len(query.positives),
        "positive_score": mean(query.positive_scores),
    }


def judge(query, config, documents):
    """Verdicts of one query, for each anchor a list with one for each candidate.

    Args:
        query: a `strategies.Query`.
        config: a FilterConfig.
        documents: key of each document of the corpus.
    """
    positives, guides = (
        [np.float32(score) for row in anchors([scores], config.anchor, config.anchor_quantile) for score in row]
        for scores in (query.positive_scores, query.guide_positive_scores or query.positive_scores)
    )
    out = []
    for positive, guide in zip(positives, guides, strict=True):
        taken, row = set(), []
        for place, document in enumerate(query.candidates):
            reasons = _copies(query, place, documents) | _scores(query, place, positive, config)
            reasons |= _guide(query, place, guide, config)
            if config.judged_negatives == "keep" and document in query.judged:
                reasons |= dict.fromkeys(
                    (
                        "outside_ranks",
                        "absolute",
                        "margin",
                        "percent",
                        "adaptive",
                        "two_sided",
                        "guide",
                        "multi_similarity",
                    ),
                    False,
                )
            verdict = next((name for name in VERDICTS if reasons.get(name)), "keep")
            if verdict == "keep" and documents[document] in taken:
                verdict = "copy_of_negative"
            elif verdict == "keep":
                taken.add(documents[document])
            row.append(verdict)
        out.append(row)
    return out


def group_z_scores(values, counted):
    """Return z of all values, mean and deviation taken over the counted ones; 0 where those do not differ."""
    real = [value for value, counts in zip(values, counted, strict=True) if counts]
    if not real:
        return [0.0] * len(values)
    centre = sum(real) / len(real)
    std = math.sqrt(sum((value - centre) ** 2 for value in real) / len(real))
    if std <= 1e-6 * max(1.0, abs(centre)):
        return [0.0] * len(values)
    return [(value - centre) / std for value in values]


def two_sided(query):
    """z(s) + z(highest similarity to a positive) of each candidate, among those that are no labelled positives."""
    others = [document not in query.positives for document in query.candidates]
    nearest = [max(row) for row in query.similarities]
    both = zip(group_z_scores(query.scores, others), group_z_scores(nearest, others), strict=True)
    return [a + b for a, b in both]


def _copies(query, place, documents):
    document = query.candidates[place]
    return {
        "positive": document in query.positives,
        "sibling_positive": document in query.siblings,
        "judged_relevant": documents[document] in [documents[d] for d in query.relevant],
        "copy_of_positive": documents[document] in [documents[p] for p in query.positives],
        "copy_of_query": documents[document] == query.key,
    }


def _guide(query, place, positive, config):
    rules = [config.rule] if isinstance(config.rule, str) else config.rule
    return {
        "guide": "guide" in rules and not keeps_guide(query.guide_scores[place], positive, config.guide_margin),
    }


def _scores(query, place, positive, config):
    s, rules = query.scores[place], [config.rule] if isinstance(config.rule, str) else config.rule
    nearest, limit = max(query.similarities[place]), config.max_positive_similarity
    others = sorted(x for x, d in zip(query.scores, query.candidates, strict=True) if d not in query.positives)
    count = math.ceil(Fraction(str(config.easiest)) * len(others))
    easy = count > 0 and s <= others[count - 1]
    query_limit = config.max_query_similarity
    return {
        "near_copy_of_positive": limit is not None and np.float32(nearest) > np.float32(limit),
        "near_copy_of_query": query_limit is not None and np.float32(s) > np.float32(query_limit),
        "outside_ranks": config.ranks is not None and not keeps_rank(query.ranks[place], *config.ranks),
        "absolute": "absolute" in rules and not keeps_absolute(s, config.min_score, config.max_score),
        "margin": "margin" in rules and not easy and not keeps_margin(s, positive, config.margin),
        "percent": "percent" in rules and not easy and not keeps_percent(s, positive, config.percent),
        "adaptive": "adaptive" in rules
        and not easy
        and not keeps_adaptive(s, positive, query.background, config.adaptive),
        "two_sided": "two_sided" in rules and two_sided(query)[place] > config.two_sided,
        "multi_similarity": "multi_similarity" in rules
        and not keeps_multi_similarity(s, query.positive_scores, config.multi_similarity),
    }


def to_score(query, config, spend, most):
    """Return, for each candidate of a query, whether the cross-encoder scores it (labelled positives left out)."""
    others = [place for place, document in enumerate(query.candidates) if document not in query.positives]
    if spend == "top":
        return [place in others[:most] for place in range(len(query.candidates))]
    found = set()
    for positive in query.positive_scores:
        margins = [_scores(query, place, np.float32(positive), config) for place in others]
        kept = [
            place
            for place, rejects in zip(others, margins, strict=True)
            if not (rejects["margin"] or rejects["percent"] or rejects["adaptive"])
        ]
        found |= set(kept[:most])
    return [place in found for place in range(len(query.candidates))]


def cohens_d(a, b):
    """Cohen's d, number by number; None where it is not defined."""
    if not a or not b or len(a) + len(b) < 3:
        return None
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    squares = 0.0
    for value in a:
        squares += (value - mean_a) ** 2
    for value in b:
        squares += (value - mean_b) ** 2
    if squares == 0:
        return 0.0 if mean_a == mean_b else None
    return (mean_a - mean_b) / math.sqrt(squares / (len(a) + len(b) - 2))


def bin_counts(values, edges):
    """How many values lie in each bin; the last bin holds its upper border too."""
    found = [0] * (len(edges) - 1)
    for value in values:
        for place in range(len(found)):
            last = place == len(found) - 1
            if edges[place] <= value and (value < edges[place + 1] or (last and value == edges[-1])):
                found[place] += 1
    return found


def logistic(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def order_of_requests(entries):
    """entries: (value, request); again and again the request with the highest sum, of equals the lowest number."""
    left, order = {request for _, request in entries}, []
    while left:
        totals = {one: sum(value for value, request in entries if request == one) for one in sorted(left)}
        best = max(totals, key=totals.__getitem__)
        order.append(best)
        left.remove(best)
    return order


def highest_judging_values(entries, number, per_query):
    """entries: (worth, query, document); again and again the best one that is still allowed."""
    chosen, done, taken = [], set(), {}
    while len(chosen) < number:
        best = None
        for place, (value, query, document) in enumerate(entries):
            if (query, document) in done or taken.get(query, 0) >= per_query:
                continue
            rank = (-value, query, document, place)
            if best is None or rank < best:
                best = rank
        if best is None:
            break
        _, query, document, place = best
        chosen.append(place)
        done.add((query, document))
        taken[query] = taken.get(query, 0) + 1
    return chosen


def down_to(order, positives, depth):
    """The list up to and including its depth-th document that is no positive."""
    found, counted = [], 0
    for document in order:
        if counted == depth:
            break
        found.append(document)
        counted += document not in positives
    return found


def reciprocal_ranks(lists):
    """Each document's sum of 1 / (60 + rank) over the lists that hold it."""
    fused = {}
    for order in lists:
        for rank, document in enumerate(order, start=1):
            fused[document] = fused.get(document, 0.0) + 1 / (60 + rank)
    return fused


def bm25(query, documents, k1, b):
    """Score of each document (a list of words) for a query: a plain loop over the formula of bm25s's "lucene"."""
    mean = sum(map(len, documents)) / len(documents)
    held = {word: sum(word in other for other in documents) for word in set(query)}
    scores = []
    for document in documents:
        score = 0.0
        for word in query:
            n, tf = held[word], document.count(word)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            score += idf * tf / (k1 * (1 - b + b * len(document) / mean) + tf) if tf else 0.0
        scores.append(score)
    return scores


def permitted(must, allows_missing, document, reference):
    """Whether a document of these values may serve where it is compared with those values."""
    if not document or not reference:
        return allows_missing
    for value in document:
        for other in reference:
            if must == "before" and value <= other:
                return True
            if must == "after" and value >= other:
                return True
            if must in ("match", "differ") and value == other:
                return must == "match"
    return must == "differ"


def ecdf(score, reference):
    """Return the share of the reference below a score, those equal to it counted half."""
    below = equal = 0
    for other in reference:
        below += other < score
        equal += other == score
    return (below + equal / 2) / len(reference)


def weighted_recall(documents, k):
    """Walk down (weight, found) until the weights reach k."""
    left, got = float(k), 0.0
    for weight, found in documents:
        if weight > 0 and left > 0:
            part = min(weight, left)
            got += found * part / weight
            left -= part
    return got / (k - left) if left < k else math.nan


def recall_by_lists(ranks, lists):
    """Mean over the queries with a document of the share of documents whose list is among the nearest 1, 2, ..."""
    out = []
    for p in range(1, lists + 1):
        shares = []
        for row in ranks:
            real = [rank for rank in row if rank >= 0]
            if real:
                shares.append(sum(rank < p for rank in real) / len(real))
        out.append(sum(shares) / len(shares) if shares else math.nan)
    return out


def clustered_upper_bound(hits, trials, z=1.644854):
    """Wilson's upper bound of a share with the trials divided by Kish's design effect, cluster by cluster."""
    n, k = sum(trials), len(trials)
    if not n:
        return 1.0
    p = sum(hits) / n
    effect = 1.0
    if 0 < p < 1 and k > 1:
        squares = 0.0
        for h, t in zip(hits, trials, strict=True):
            squares += (h - p * t) ** 2
        effect = max(1.0, k / (k - 1) * squares / (n * n) / (p * (1 - p) / n))
    m = n / effect
    if p == 1:
        return 1.0
    return (p + z * z / (2 * m) + z * math.sqrt(p * (1 - p) / m + z * z / (4 * m * m))) / (1 + z * z / m)


def near_labels(candidates, near, z, labels):
    """Return (nearest, share) of each candidate by loops over queries, candidates and near queries."""
    nearest, share = [], []
    for documents, rows, values in zip(candidates, near, z, strict=True):
        weights = [math.exp(value) for value in values]
        for document in documents:
            have = [place for place, row in enumerate(rows) if document in labels[row]]
            nearest.append(max((values[place] for place in have), default=0))
            share.append(sum(weights[place] for place in have) / sum(weights) if have else 0)
    return nearest, share


def sparse_scores(query, documents):
    """Return each document's dot product with the query in float32, term by term; both are {term: weight}."""
    found = []
    for document in documents:
        total = np.float32(0)
        for term, weight in query:
            if term in document:
                total += np.float32(weight) * np.float32(document[term])
        found.append(total)
    return found


def max_sim(query, document):
    """Sum over query tokens of the highest dot product with a document token."""
    return sum(max(sum(float(a) * float(b) for a, b in zip(q, d, strict=True)) for d in document) for q in query)
