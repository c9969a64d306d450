"""The report's sections on the order of the training rows and on their weights."""

from typing import Any

from hnmine.runtime.stage import RunContext
from hnmine.science.example_weights import cluster_weight
from hnmine.stages.emit.clusters import Clusters
from hnmine.stages.emit.example_scores import ExampleScores, focal_weights, read_order
from hnmine.stages.report.statistics import distribution

_TENTH = 10


def order_and_weights(context: RunContext) -> dict[str, Any]:
    """Return the report's sections `order` and `weights`, as far as the config asks for them."""
    emit, folder = context.config.emit, context.reading("emit")
    sections: dict[str, Any] = {}
    if emit.is_ordered:
        hardness = read_order(folder).column("hardness").to_numpy()
        some = -(-len(hardness) // _TENTH)  # at least one example
        first, last = (float(part.mean()) if len(part) else None for part in (hardness[:some], hardness[-some:]))
        sections["order"] = {"first_tenth_hardness": first, "last_tenth_hardness": last}
    if not {"focal_weight", "cluster_weight"} & set(emit.extra_columns):
        return sections
    found, weights = ExampleScores.read(context, folder), {}
    if "focal_weight" in emit.extra_columns:
        weights["focal"] = distribution(focal_weights(found.positive, found.negatives, emit))
    if emit.has_clusters:
        clusters, negatives = Clusters.read(folder), found.examples.negative_rows
        cluster, own = clusters.of(negatives.values, found.examples.positive_row[negatives.owners])
        weights["cluster"] = distribution(cluster_weight(cluster, own, clusters.rates)) | {
            "clusters": int(clusters.count),
            "own_share": float(own.mean()) if len(own) else None,
        }
    return sections | {"weights": weights}
