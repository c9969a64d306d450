"""What `hnmine plan` says of disk and requests, against what runs used, on the sample collection and enlarged copies.

python -m tests.benchmarks.planned [--copies 1 8] [--cases words hubs ...]

An enlarged copy has every document, query and label `copies` times, each time in an alphabet of its own, so that words
are as often shared as before and files compress as texts do. Teachers are the hash encoder; servers are
`tests.fake_server`, so requests are counted, and a token is a quarter of the bytes sent.
"""

import csv
import json
import tempfile
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any

from hnmine.commands.judge.judge import JudgeOptions, ask_server
from hnmine.commands.plan.plan import make_plan
from hnmine.config.file import check_config
from hnmine.pipeline.run import run
from hnmine.runtime.engines import Progress
from tests.benchmarks.measure import argument_parser
from tests.commands.judge.fakes import asked_of, content_by
from tests.fake_server import FakeServer
from tests.support import ROOT, write_collection

STAGES = ("ingest", "embed", "index", "retrieve", "rescore", "hubs", "filter", "emit", "report")
SERVED, ENCODER = "served", {"model": "sparse"}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "words": {"retrieve": {"source": [{"kind": "dense"}, {"kind": "bm25"}]}},
    "hubs": {"filter": {"score": "hub_normalised", "rule": "margin"}},
    "rescored": {"rescore": {"model": "hash"}, "filter": {"score": "rescored"}},
    "checked": {"rescore": {"model": "hash", "spend": "doubtful"}, "filter": {"score": "checked", "rule": "percent"}},
    "distillation": {
        "filter": {"rule": "percent"}, "emit": {"format": "distillation", "choose": "stratified", "num_negatives": 16},
    },
    "mixing": {"emit": {"format": "n-tuple", "mixing": 8, "mixing_query": 8}},
    "weights and order": {
        "filter": {"probabilities": True},
        "emit": {
            "format": "n-tuple", "order": "easy_to_hard", "extra_columns": ["weight", "cluster_weight", "focal_weight"],
        },
    },
    "two formats": {"emit": {"format": ["triplet", "labeled-list"], "batch_size": 16}},
    "relabelled": {"emit": {"relabel": 0.6}},
    "served": {"embed": {"model": SERVED}, "rescore": {"model": SERVED}, "judge": {"model": SERVED}},
}  # fmt: skip


def enlarged(folder: Path, copies: int) -> Path:
    """Write the sample collection `copies` times, and return the folder."""
    sample = ROOT / "sample_data"
    corpus, queries = (
        {one[key]: f"{one.get('title', '')} {one['text']}".strip() for one in map(json.loads, file.open())}
        for file, key in ((sample / "corpus.jsonl", "doc_id"), (sample / "queries.jsonl", "query_id"))
    )
    with (sample / "qrels.tsv").open() as file:
        labels = [
            (row["query_id"], row["doc_id"], int(row["relevance"])) for row in csv.DictReader(file, delimiter="\t")
        ]

    def copied(texts: dict[str, str]) -> dict[str, str]:
        return {
            f"{name}-{n}": text.lower().translate(_alphabet(n)) for n in range(copies) for name, text in texts.items()
        }

    every = [(f"{query}-{n}", f"{document}-{n}", level) for n in range(copies) for query, document, level in labels]
    folder.mkdir(parents=True, exist_ok=True)
    return write_collection(folder, copied(corpus), copied(queries), every)


def _alphabet(copy: int) -> dict[int, int]:
    """Return letters in place of letters; the letters themselves for the first copy."""
    shuffled = list(ascii_lowercase)
    if copy:
        Random(copy).shuffle(shuffled)
    return str.maketrans(ascii_lowercase, "".join(shuffled))


def compare(case: str, base: Path, out: Path) -> dict[str, tuple[float, float]]:
    """Return (planned, used) of each stage's bytes on disk and of the requests and tokens of servers."""
    with FakeServer() as server:
        server.chat = _judged
        tables = json.loads(json.dumps(CASES[case]).replace(f'"{SERVED}"', json.dumps(server.url)))
        data = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
        config = check_config({"input": data, "out": str(out), "embed": {"model": "hash"}} | tables, "planned", base)
        run(config, ["ingest"])  # which counts positives and copies
        planned = make_plan(config)
        run(config)
        found = {stage: (planned["disk_of_stages"].get(stage, 0), _size(out / stage)) for stage in STAGES}
        sent = {
            route: [one.body for one in server.seen if one.path.endswith(route)] for route in ("embeddings", "rerank")
        }
        texts = {
            "embed": [text for body in sent["embeddings"] for text in body["input"]],
            "rescore": [text for body in sent["rerank"] for text in (body["query"], *body["documents"])],
        }
        for table, said in planned.get("requests", {}).items():
            found[f"{table} requests"] = (said["requests"], len(sent["rerank" if table == "rescore" else "embeddings"]))
            found[f"{table} tokens"] = (said["tokens"], sum(len(text.encode()) for text in texts[table]) / 4)
        if "judge" in planned:
            used = ask_server(config, out.with_suffix(".jsonl"), JudgeOptions(number=10**9), Progress())
            bodies = [one.body for one in server.seen if one.path.endswith("completions")]
            size = sum(len(json.dumps(body, ensure_ascii=False).encode()) for body in bodies)
            found["judge requests"] = (planned["judge"]["requests"], used["requests"])
            found["judge tokens"] = (planned["judge"]["prompt_tokens"], size / 4)
    return {name: pair for name, pair in found.items() if any(pair)}


def _judged(body: Any) -> str:
    texts = asked_of(body)["candidates"]
    return content_by("better-or-worse", texts, dict.fromkeys(texts, False))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--copies", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    given = parser.parse_args()
    print("| settings | copies | what | planned | used | ratio |\n|---|---|---|---|---|---|")
    for copies in given.copies:
        for case in given.cases:
            with tempfile.TemporaryDirectory() as folder:
                base = enlarged(Path(folder) / "data", copies)
                for name, (said, used) in compare(case, base, Path(folder) / "out").items():
                    ratio = f"{said / used:.2f}" if used else "-"
                    print(f"| {case} | {copies} | {name} | {said:,.0f} | {used:,.0f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
