"""Students trained on a mined set with sentence-transformers' own trainers, and what they make of the test queries.

Every training query trains, those too for which nothing was mined. MultipleNegativesRankingLoss tells a query's
positive from the batch's other positives and from all of its negatives, and takes any number of these.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hnmine.arrays.ragged import Ragged
from hnmine.config.models import EmbedConfig
from hnmine.models.model_files import find_model
from hnmine.science.ranking_metrics import ndcg
from hnmine.storage.vectors import to_numpy
from hnmine.students.evaluation import CUT_OFF, ranked_ndcg
from tests.benchmarks.training.mine import MinedSet
from tests.benchmarks.training.prepare import Prepared

TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
SCALE = 20.0
AT_ONCE = 40
"""Negatives that pass through a model with padding at once."""
RERANKED = 30
"""First documents of the teacher's list that a cross-encoder puts into a new order."""
TEACHERS_BEST, RANDOM_DOCUMENTS = 30, 1_000
"""What the whole model ranks beside the test queries' positives: each one's best by the teacher, and random documents.
"""


@dataclass(frozen=True)
class Setting:
    """How a student trains.

    Attributes:
        rate: learning rate, after a linear warm-up over a tenth of the steps and before a linear decay to 0.
        epochs: passes over the training queries.
        batch: training queries, or pairs of a cross-encoder, a batch.
        tokens: longest text, or pair; the rest is cut. None: the model's own limit.
    """

    rate: float
    epochs: int
    batch: int
    tokens: int | None = None


Making = Callable[[], Any]
"""Makes an untrained model."""


@dataclass(frozen=True)
class Pool:
    """What the test queries are measured on.

    Attributes:
        documents: corpus rows of the ranked documents, ascending, int64.
        relevant: places among them of each test query's labels.
    """

    documents: np.ndarray
    relevant: Ragged

    @classmethod
    def whole(cls, prepared: Prepared) -> "Pool":
        return cls(np.arange(len(prepared.corpus.texts)), prepared.test.relevant)

    @classmethod
    def part(cls, prepared: Prepared) -> "Pool":
        """The test queries' positives, their best documents by the teacher, and random ones."""
        relevant, size = prepared.test.relevant, len(prepared.corpus.texts)
        drawn = np.random.default_rng([prepared.seed, 0x706F6F6C]).permutation(size)[:RANDOM_DOCUMENTS]
        best = teachers_list(prepared, TEACHERS_BEST)
        documents = np.unique(np.concatenate([relevant.values, best.ravel(), drawn]))
        return cls(documents, relevant.with_values(np.searchsorted(documents, relevant.values)))


def teachers_list(prepared: Prepared, first: int) -> np.ndarray:
    """Return the rows of each test query's best documents by the teacher, best first, int64, (queries, first)."""
    return best_of(vectors_of_test(prepared), prepared.vectors()[1], first)


def vectors_of_test(prepared: Prepared) -> np.ndarray:
    """Return the teacher's vectors of the test queries, float32."""
    table = pq.read_table(prepared.folder / "test" / "vectors-queries.parquet")
    at = {name: row for row, name in enumerate(table.column("query_id").to_pylist())}
    return to_numpy(table.column("vector")).astype(np.float32)[[at[name] for name in prepared.test.ids]]


def best_of(queries: np.ndarray, documents: np.ndarray, first: int) -> np.ndarray:
    """Return the rows of each query's documents of the highest dot product, best first, int64, (queries, first)."""
    found = np.empty((len(queries), first), dtype=np.int64)
    for start in range(0, len(queries), 512):
        scores = queries[start : start + 512] @ documents.T
        top = np.argpartition(-scores, first - 1, axis=1)[:, :first]
        order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
        found[start : start + 512] = np.take_along_axis(top, order, axis=1)
    return found


def quality(ranked: np.ndarray, relevant: Ragged) -> np.ndarray:
    """Return the nDCG@10 of each query from its first ten documents (n, 10); float64, shape (n,)."""
    rows = np.repeat(np.arange(len(ranked)), ranked.shape[1])
    gains = relevant.contains(rows, ranked.ravel()).reshape(ranked.shape)
    return ndcg(gains.astype(np.float64), np.arange(ranked.shape[1]) < relevant.lengths[:, None])


def train_bi_encoder(model: Any, prepared: Prepared, mined: MinedSet, setting: Setting, seed: int) -> None:
    """Train a SentenceTransformer in place."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    class AllNegatives(SentenceTransformerDataCollator):
        """Puts the batch's negatives, of whatever number a query has, one after another into columns of their own."""

        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            pairs = [{name: row[name] for name in ("anchor", "positive")} for row in features]
            batch = super().__call__(pairs)
            texts = [text for row in features for text in row["negatives"]]
            if setting.tokens:  # texts of like length are padded together
                texts.sort(key=len)
            size = AT_ONCE if setting.tokens else max(1, len(texts))
            for first in range(0, len(texts), size):
                part = self.preprocess_fn(texts[first : first + size])
                batch |= {f"negative_{first}_{name}": value for name, value in part.items()}
            return batch

    texts = prepared.corpus.texts
    data = Dataset.from_dict(
        {
            "anchor": [prepared.training.texts[row] for row in mined.asked],
            "positive": [texts[row] for row in mined.positives],
            "negatives": [
                [texts[row] for row in rows] for rows in np.split(mined.negatives.values, mined.negatives.offsets[1:-1])
            ],
        }
    )
    with tempfile.TemporaryDirectory() as work:
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(**_arguments(setting, seed, work)),
            train_dataset=data,
            loss=MultipleNegativesRankingLoss(model, scale=SCALE),
            data_collator=AllNegatives(model.preprocess),
        ).train()


def _arguments(setting: Setting, seed: int, work: str) -> dict[str, Any]:
    return {
        "output_dir": work, "learning_rate": setting.rate, "num_train_epochs": setting.epochs, "seed": seed,
        "per_device_train_batch_size": setting.batch, "warmup_steps": 0.1, "lr_scheduler_type": "linear",
        "optim": "adamw_torch_fused", "use_cpu": True, "save_strategy": "no", "logging_strategy": "no",
        "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip


def encoded(model: Any, texts: list[str]) -> Any:
    return model.encode(texts, batch_size=256, convert_to_tensor=True, show_progress_bar=False)


def static_models(setting: Setting, texts: list[str]) -> Making:
    """Return what makes a StaticEmbedding of the teacher's token table: the mean of a text's token vectors.

    The table has rows for the tokens of the given texts alone: others get no gradient, so that training leaves them as
    they are, and takes most of its time for them. Texts are tokenised once, for all models.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    teacher: Any = whole_model(setting)[0]
    table = teacher.auto_model.get_input_embeddings().weight.detach().clone()
    module = StaticEmbedding(teacher.tokenizer, embedding_weights=table)
    module.tokenizer.enable_truncation(setting.tokens) if setting.tokens else module.tokenizer.no_truncation()
    distinct = list(dict.fromkeys(texts))
    encodings = module.tokenizer.encode_batch(distinct, add_special_tokens=False)
    tokens = [np.array(one.ids, dtype=np.int64) for one in encodings]
    used = np.unique(np.concatenate(tokens))
    rows = {text: np.searchsorted(used, own) for text, own in zip(distinct, tokens, strict=True)}

    class Tokenised(StaticEmbedding):
        def preprocess(self, inputs: list[str], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:
            own = [rows[text] for text in inputs]
            lengths = np.array([len(one) for one in own])
            return {
                "input_ids": torch.from_numpy(np.concatenate(own)),
                "offsets": torch.from_numpy(np.cumsum(lengths) - lengths),
            }

    def make() -> Any:
        small = Tokenised(teacher.tokenizer, embedding_weights=table[torch.from_numpy(used)])
        return SentenceTransformer(modules=[small], device="cpu")

    return make


def whole_model(setting: Setting) -> Any:
    """Return the teacher itself."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(find_model(EmbedConfig(model=TEACHER)), device="cpu")
    if setting.tokens:
        model.max_seq_length = setting.tokens
    return model


class BiEncoder:
    """A student that maps queries and documents to vectors."""

    def __init__(self, make: Making, prepared: Prepared, setting: Setting, pool: Pool) -> None:
        self.make, self.prepared, self.setting, self.pool = make, prepared, setting, pool

    def untrained(self) -> np.ndarray:
        """Return the nDCG@10 of each test query before training, float64."""
        return self._quality(self.make())

    def train(self, mined: MinedSet, seed: int) -> np.ndarray:
        """Return the nDCG@10 of each test query after training on a mined set, float64."""
        model = self.make()
        train_bi_encoder(model, self.prepared, mined, self.setting, seed)
        return self._quality(model)

    def _quality(self, model: Any) -> np.ndarray:
        model.eval()
        documents = encoded(model, [self.prepared.corpus.texts[row] for row in self.pool.documents])
        return ranked_ndcg(encoded(model, self.prepared.test.texts), documents, self.pool.relevant)


class CrossEncoder:
    """A cross-encoder from the teacher's weights with a new head, which re-ranks the first of the teacher's list."""

    def __init__(self, prepared: Prepared, setting: Setting) -> None:
        self.prepared, self.setting = prepared, setting
        self.first = teachers_list(prepared, RERANKED)

    def untrained(self) -> np.ndarray:
        """Return the nDCG@10 of each test query in the teacher's order, float64."""
        return quality(self.first[:, :CUT_OFF], self.prepared.test.relevant)

    def train(self, mined: MinedSet, seed: int) -> np.ndarray:
        """Return the nDCG@10 of each test query after training on a mined set, float64.

        Every example is a labelled pair; a query without negatives has its positive alone.
        """
        import torch
        from datasets import Dataset
        from sentence_transformers import CrossEncoder as Model
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
        from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

        torch.manual_seed(seed)
        folder = find_model(EmbedConfig(model=TEACHER))
        model: Any = Model(folder, num_labels=1, max_length=self.setting.tokens, device="cpu")
        texts, asked = self.prepared.corpus.texts, self.prepared.training.texts
        owners = np.concatenate([mined.asked, mined.asked[mined.negatives.owners]])
        rows = np.concatenate([mined.positives, mined.negatives.values])
        labels = np.repeat([1.0, 0.0], [len(mined.positives), len(mined.negatives.values)])
        data = Dataset.from_dict(
            {"query": [asked[at] for at in owners], "document": [texts[row] for row in rows], "label": labels.tolist()}
        )
        with tempfile.TemporaryDirectory() as work:
            CrossEncoderTrainer(
                model=model,
                args=CrossEncoderTrainingArguments(**_arguments(self.setting, seed, work)),
                train_dataset=data,
                loss=BinaryCrossEntropyLoss(model),
            ).train()
        pairs = [
            (text, texts[row])
            for text, own in zip(self.prepared.test.texts, self.first.tolist(), strict=True)
            for row in own
        ]
        model.eval()
        scores = np.asarray(model.predict(pairs, batch_size=64, show_progress_bar=False)).reshape(self.first.shape)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :CUT_OFF]
        return quality(np.take_along_axis(self.first, order, axis=1), self.prepared.test.relevant)


Student = BiEncoder | CrossEncoder


def settings(student: str, collection: str) -> dict[str, Setting]:
    """Return a student's settings by name, all fixed before any arms were compared."""
    epochs = 4 if collection == "bioasq_snippets" else 6
    return {
        "static": {"main": Setting(5e-3, epochs, 64), "second": Setting(2e-3, 2 * epochs, 32)},
        "full": {"main": Setting(1e-4, 2, 32, 64), "second": Setting(3e-5, 2, 32, 64)},
        "cross-encoder": {"main": Setting(5e-5, 2, 32, 96)},
    }[student]


def load_student(name: str, prepared: Prepared, setting: Setting) -> Student:
    """Return a student: static, full (the teacher itself, over a part of the documents) or cross-encoder."""
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    if name == "static":
        texts = [*prepared.corpus.texts, *prepared.training.texts, *prepared.test.texts]
        return BiEncoder(static_models(setting, texts), prepared, setting, Pool.whole(prepared))
    if name == "full":
        return BiEncoder(partial(whole_model, setting), prepared, setting, Pool.part(prepared))
    return CrossEncoder(prepared, setting)
