"""How often the interval of a judged random sample covers the true false-negative rate of a set.

    python -m tests.benchmarks.judged_samples sample_data/hnmine.toml OUT [--draws 1000]

OUT is the folder of the finished run of that config, whose folder has a truth.tsv with every relevant pair.
"""

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from hnmine.commands.export_judgements import distinct_negatives, draw_negatives
from hnmine.config.file import load_config
from hnmine.runtime.stage import RunContext
from hnmine.science.survey import stratified_share
from hnmine.storage.schemas.ingest import CORPUS, QUERIES
from hnmine.storage.store import Shards
from tests.benchmarks.measure import argument_parser


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    config = load_config(options.config, (), options.out)
    context = RunContext(config, config.out_folder)
    ingest = context.reading("ingest")
    documents = Shards(ingest / "corpus", CORPUS).column("doc_id").to_pylist()
    queries = Shards(ingest / "queries", QUERIES).column("query_id").to_pylist()
    relevant = defaultdict(set)
    with (options.config.parent / "truth.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            relevant[row["query_id"]].add(row["doc_id"])
    negatives = distinct_negatives(context)
    pairs = zip(negatives["query"], negatives["document"], strict=True)
    false = np.array([documents[document] in relevant[queries[query]] for query, document in pairs], dtype=bool)
    for number in (50, 100, 200, 400):
        covered, shares, widths = 0, [], []
        for seed in range(options.draws):
            drawn = draw_negatives(negatives, number, seed)
            every = np.ones(len(drawn.places), dtype=bool)
            share = stratified_share(false[drawn.places], every, drawn.strata, drawn.sizes)
            assert share is not None
            covered += share.low <= false.mean() <= share.high
            shares.append(share.value)
            widths.append(share.high - share.low)
        line = {
            "negatives": len(false), "truth": float(false.mean()), "judged": number, "draws": options.draws,
            "covered": covered / options.draws, "mean": float(np.mean(shares)), "width": float(np.mean(widths)),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
