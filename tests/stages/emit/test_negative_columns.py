"""Weights and soft labels: each negative carries the P(false negative) by which it was judged."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from hnmine import run
from hnmine.config.emit import FormatName
from hnmine.pipeline.run import RunOptions
from tests.pipeline.helpers import doc_ids, report, rows, table
from tests.pipeline.tiny import save_tiny_cross_encoder
from tests.support import config_for, make_collection, tree

KEYS = ["query_id", "positive_id", "negative_id"]
EXTRA = [*KEYS, "p_false_negative", "weight"]
Key = tuple[str, str, str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a collection mined with probabilities into `out`, in two shards."""
    folder = make_collection(tmp_path_factory.mktemp("weights"), 120, 300)
    run(settings(folder))
    return folder


def settings(base: Path, out: str = "out", **tables: Any) -> Any:
    rules = {"probabilities": True, "percent": 0.9, **tables.pop("filter", {})}
    emit = {"extra_columns": EXTRA, **tables.pop("emit", {})}
    return config_for(
        base, out, filter=rules, emit=emit, **{"shard_rows": 256, "retrieve": {"max_top_k": 10}, **tables}
    )


def mine(base: Path, out: str, **tables: Any) -> Path:
    """Mine into a folder of its own, reading from `out` what fits."""
    run(settings(base, out, **tables), options=RunOptions(source=base / "out"))
    return base / out


def judged(run_folder: Path, out: Path) -> dict[Key, np.float32]:
    """Return P(false negative) of each kept (query, positive, candidate), anchor by anchor."""
    names, found = doc_ids(out), {}
    for row in rows(run_folder / "filter"):
        for place, positive in enumerate(row["positive_rows"]):
            anchor = place if len(row["anchor_scores"]) > 1 else 0
            cells = zip(row["doc_rows"], row["verdicts"][anchor], row["probabilities"][anchor], strict=True)
            for document, verdict, p in cells:
                if verdict == "keep":
                    found[row["query_id"], names[positive], names[document]] = np.float32(p)
    return found


def emitted(folder: Path, name: str) -> list[dict[str, Any]]:
    if name != "bge":
        return rows(folder / "emit")
    files = sorted((folder / "emit").glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def one_by_one(found: list[dict[str, Any]]) -> list[tuple[Key, float, float]]:
    """Return (key, P, weight) of every negative, whatever the shape; rows of positives are left out."""
    out = []
    for row in found:
        ids, ps, weights = row["negative_id"], row["p_false_negative"], row["weight"]
        if not isinstance(ids, list):
            ids, ps, weights = [ids], [ps], [weights]
        for id_, p, weight in zip(ids, ps, weights, strict=True):
            if id_ is not None:
                out.append(((row["query_id"], row["positive_id"], id_), p, weight))
    return out


@pytest.mark.parametrize("anchor", ["each", "min"])
def test_each_negative_has_the_probability_that_judged_it(base: Path, anchor: str) -> None:
    source = base / "out"
    if anchor != "each":
        source = base / anchor
        run(settings(base, anchor, filter={"anchor": anchor}))
    expected = judged(source, base / "out")
    for name in get_args(FormatName):
        out = f"{name}-{anchor}"
        tables = {"filter": {"anchor": anchor}, "emit": {"format": name, "num_negatives": 2}}
        run(settings(base, out, **tables), ["emit"], RunOptions(source=source))
        found = one_by_one(emitted(base / out, name))
        assert len(found) > 256
        assert len({p for _, p, _ in found}) > 50
        for key, p, weight in found:
            assert np.float32(p) == expected[key]
            assert np.float32(weight) == np.float32(1) - expected[key]


def test_two_anchors_of_a_query_give_the_same_candidate_different_probabilities(base: Path) -> None:
    """Otherwise the test above could not tell an anchor's probability from another's."""
    by_pair: dict[tuple[str, str], set[float]] = {}
    for (query, _, negative), p in judged(base / "out", base / "out").items():
        by_pair.setdefault((query, negative), set()).add(float(p))
    assert max(map(len, by_pair.values())) > 1


def test_beside_a_positive_the_probability_is_null_and_the_weight_1(base: Path) -> None:
    folder = mine(base, "pairs", emit={"format": "labeled-pair"})
    positives = [row for row in emitted(folder, "labeled-pair") if row["label"] == 1]
    assert {(row["p_false_negative"], row["weight"]) for row in positives} == {(None, 1.0)}


def test_probabilities_change_no_verdict_and_set_no_threshold(base: Path) -> None:
    plain = mine(base, "plain", filter={"probabilities": False}, emit={"extra_columns": []})
    assert table(plain / "filter").column("verdicts").equals(table(base / "out/filter").column("verdicts"))
    assert not any(len(p) for row in rows(plain / "filter") for p in row["probabilities"])
    calibration = report(base / "out")["calibration"]
    assert calibration["threshold"] == 1
    assert calibration["reason"].endswith("no threshold, since no rule uses it")
    assert calibration["fitted_on"] == "own labels"
    assert "calibration_error" in report(base / "out")["hidden_positives"]["this_filter"]
    assert "calibration" not in report(plain)


def test_probabilities_do_not_depend_on_how_many_are_chosen(base: Path) -> None:
    more = settings(base, "more", emit={"num_negatives": 2})
    results = run(more, options=RunOptions(source=base / "out"))
    assert [result.stage for result in results if result.ran] == ["emit", "report"]  # no deeper search: filter is kept


def test_workers_and_shards_change_nothing(base: Path) -> None:
    shutil.copytree(base / "out", base / "workers")
    for name in ("filter", "emit"):
        shutil.rmtree(base / "workers" / name)
    run(settings(base, "workers", workers=2), ["filter", "emit"])
    assert tree(base / "workers/filter") == tree(base / "out/filter")
    assert tree(base / "workers/emit") == tree(base / "out/emit")
    run(settings(base, "one-shard", shard_rows=512))
    assert table(base / "one-shard/emit").equals(table(base / "out/emit"))


def test_the_calibrated_rule_gives_them_too(base: Path) -> None:
    folder = mine(base, "calibrated", filter={"rule": "calibrated", "probabilities": False})
    expected = judged(folder, base / "out")
    threshold = np.float32(report(folder)["calibration"]["threshold"])
    found = one_by_one(emitted(folder, "triplet"))
    assert found
    for key, p, _ in found:
        assert np.float32(p) == expected[key] <= threshold


@pytest.mark.parametrize("soft", [False, True])
def test_labels_are_those_of_the_shapes_or_the_probabilities(base: Path, soft: bool) -> None:
    found = {}
    for name in ("labeled-pair", "labeled-list"):
        tables = {"emit": {"format": name, "soft_labels": soft}}
        found[name] = table(mine(base, f"{name}-{soft}", **tables) / "emit")
    kind = pa.float32() if soft else pa.int32()
    assert found["labeled-pair"].schema.field("label").type == kind
    assert found["labeled-list"].schema.field("labels").type.value_type == kind
    lists = found["labeled-list"].to_pylist()
    for row in lists:
        assert row["labels"] == [1, *(row["p_false_negative"] if soft else [0] * len(row["negative_id"]))]
    assert found["labeled-pair"].column("label").to_pylist() == [label for row in lists for label in row["labels"]]
    card = (base / f"labeled-list-{soft}/emit/README.md").read_text()
    assert ("ListNetLoss" in card) == soft


@pytest.mark.model
@pytest.mark.parametrize("name", ["labeled-pair", "labeled-list"])
def test_a_cross_encoder_trains_on_soft_labels(base: Path, tmp_path: Path, name: str) -> None:
    """The first step's loss is that of the soft labels, computed here from the model's own numbers."""
    pytest.importorskip("sentence_transformers")
    import datasets
    import torch
    from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss

    folder = mine(base, f"train-{name}", emit={"format": name, "soft_labels": True, "extra_columns": []})
    rows = datasets.load_dataset("parquet", data_files=str(folder / "emit/part-*.parquet"), split="train",
                                 cache_dir=str(tmp_path / "cache")).select(range(16))  # fmt: skip
    save_tiny_cross_encoder(tmp_path / "model")
    model = CrossEncoder(str(tmp_path / "model"), num_labels=1, device="cpu", max_length=48)

    def logits(anchor: str, documents: list[str]) -> Any:
        return torch.tensor(model.predict([(anchor, d) for d in documents], activation_fn=torch.nn.Identity()))

    cross_entropy = torch.nn.functional.cross_entropy
    if name == "labeled-pair":
        numbers = torch.cat([logits(row["anchor"], [row["document"]]) for row in rows])
        expected = torch.nn.functional.binary_cross_entropy_with_logits(numbers, torch.tensor(rows["label"][:]))
    else:
        lists = [(logits(row["anchor"], row["documents"]), torch.tensor(row["labels"])) for row in rows]
        expected = torch.stack([cross_entropy(numbers, labels.softmax(0)) for numbers, labels in lists]).mean()
    loss = BinaryCrossEntropyLoss(model) if name == "labeled-pair" else ListNetLoss(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(tmp_path / "trainer"), max_steps=1, per_device_train_batch_size=16, learning_rate=1e-2,
        report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trained = CrossEncoderTrainer(model=model, args=arguments, train_dataset=rows, loss=loss).train()
    assert trained.training_loss == pytest.approx(float(expected), rel=1e-4)
    assert any(not torch.equal(before[key], value) for key, value in model.state_dict().items())
