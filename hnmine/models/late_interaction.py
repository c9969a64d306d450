"""Late interaction: scores of pairs by the vectors of their tokens, as ColBERT gives them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.arrays.single_thread import single_thread
from hnmine.config.models import RescoreConfig
from hnmine.errors import MissingExtra, ModelError, reason
from hnmine.models.model_files import find_model, load_model
from hnmine.science.late_interaction import max_sim

BLOCK_BYTES = 64_000_000
"""Vectors of documents in memory at a time."""
LONGEST = 512
"""Tokens of a document, where the model says no length."""
_MARKS = ("query_prefix", "document_prefix", "query_length", "document_length", "skiplist_words", "query_expansion")
"""Keys in config_sentence_transformers.json of a folder by pylate, before it wrote a model type."""


class LateInteraction:
    """A model of token vectors: MaxSim of query and document, divided by the number of the query's tokens.

    The model is a sentence-transformers MultiVectorEncoder, a folder saved by pylate or a ColBERT checkpoint, with the
    prompts, lengths and skipped words that it was saved with; or a SentenceTransformer, whose token vectors are those
    of its transformer, at length 1. The division lets scores of different queries compare.

    Raises:
        MissingExtra: sentence-transformers is too old.
        ModelError: the model cannot be loaded, has no token vectors, or its weights are not safetensors.
    """

    def __init__(self, config: RescoreConfig) -> None:
        self.model, self.batch_size = _load(config), config.batch_size
        transformer = self.model[0]
        if config.max_length is not None:
            transformer.document_length = config.max_length
        longest = getattr(transformer, "document_length", None) or self.model.max_seq_length or LONGEST
        dim = self.model.get_embedding_dimension() or LONGEST
        self.block_rows = max(1, BLOCK_BYTES // (4 * dim * min(int(longest), 100 * LONGEST)))

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the score of each (query, text), float32. A text is encoded once, however many queries ask for it."""
        queries, documents = (list(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True)) if pairs else ([], [])
        documents.sort(key=len, reverse=True)  # stable; texts of one length stay in the order of the pairs
        asked = dict(zip(queries, self._vectors(queries, "query"), strict=True))
        of_document: dict[str, list[int]] = {text: [] for text in documents}
        for place, (_, text) in enumerate(pairs):
            of_document[text].append(place)
        out = np.zeros(len(pairs), dtype=np.float32)
        for first in range(0, len(documents), self.block_rows):
            texts = documents[first : first + self.block_rows]
            encoded = self._vectors(texts, "document")
            with single_thread():  # on some processors the last bits depend on the number of threads
                for text, vectors in zip(texts, encoded, strict=True):
                    for place in of_document[text]:
                        query = asked[pairs[place][0]]
                        out[place] = max_sim(query, vectors) / max(1, len(query))
        return out

    def _vectors(self, texts: list[str], kind: str) -> list[np.ndarray]:
        """Return the vectors of each text's tokens, float32, shape (tokens, dim)."""
        encode = self.model.encode_query if kind == "query" else self.model.encode_document
        found = encode(texts, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True)
        return [np.asarray(vectors, dtype=np.float32) for vectors in found]


def _load(config: RescoreConfig) -> Any:
    folder = Path(find_model(config, "rescore"))
    import sentence_transformers

    if not hasattr(sentence_transformers, "MultiVectorEncoder"):
        raise MissingExtra(
            'rescore.kind = "late_interaction" needs sentence-transformers 6.2 or later, and '
            f"{sentence_transformers.__version__} is installed: pip install -U sentence-transformers"
        )
    if _has_token_vectors(folder):
        return load_model("MultiVectorEncoder", config, "rescore", config.device)
    # loaded as a MultiVectorEncoder it would get a projection of random weights
    if not (folder / "modules.json").exists():
        raise ModelError(
            f"rescore.model {config.model!r} has no token vectors; name a MultiVectorEncoder, a model by pylate, a "
            "ColBERT checkpoint or a SentenceTransformer"
        )
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    plain = load_model("SentenceTransformer", config, "rescore", config.device)
    if not isinstance(plain[0], Transformer):
        raise ModelError(f"rescore.model {config.model!r} has no transformer, and so no vectors of tokens in context")
    modules = [plain[0], MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return sentence_transformers.MultiVectorEncoder(
        modules=modules, device=str(plain.device), prompts={k: v for k, v in plain.prompts.items() if v}
    )


def _has_token_vectors(folder: Path) -> bool:
    """Return whether a model's folder says that it gives a vector for each token."""
    saved = _read(folder / "config_sentence_transformers.json")
    if saved.get("model_type") in ("MultiVectorEncoder", "ColBERT") or any(name in saved for name in _MARKS):
        return True
    kinds = _read(folder / "config.json").get("architectures") or []
    return "HF_ColBERT" in kinds or any(kind.endswith("ForRetrieval") for kind in kinds)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (OSError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {reason(error)}; save the model again") from None
