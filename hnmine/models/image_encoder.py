"""Vectors of images, by sentence-transformers models that take them, such as CLIP."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from hnmine.config.tables import EmbedConfig, Kind, TeacherTable
from hnmine.errors import ModelError
from hnmine.models.encoders import EncodeTexts, check_precision
from hnmine.models.model_files import load_model
from hnmine.runtime.threads import in_threads
from hnmine.storage.store import Shards

IMAGE_CELL_ROWS = 256
"""Images that are encoded together; a divisor of the rows of any text encoder's cells."""


class ImageReader:
    """Reads the images of the documents, as a `TextReader` reads their texts.

    Args:
        shards: the images, in the order of the corpus.
        rows: int64, ascending, the documents that count; None for all.
    """

    def __init__(self, shards: Shards, rows: np.ndarray | None = None) -> None:
        self._shards, self._rows = shards, rows

    def read(self, first: int, last: int) -> list[bytes]:
        """Return the encoded images at positions [first, last); fewer where the rows end before."""
        rows = np.arange(first, min(last, self._shards.rows)) if self._rows is None else self._rows[first:last]
        return list(self._shards.take(rows, ["image"]).column(0).to_pylist())


class ImageEncoder:
    """A sentence-transformers model that takes images; `table` names the teacher's table in messages.

    Raises:
        ModelError: the model cannot be loaded, or takes no images.
    """

    cell_rows = IMAGE_CELL_ROWS

    def __init__(self, config: EmbedConfig, table: TeacherTable = "embed") -> None:
        import torch

        model = load_model("SentenceTransformer", config, table, config.device)
        check_precision(config, str(model.device.type), table)
        if not hasattr(model, "supports") or not model.supports("image"):
            raise ModelError(
                f"{table}.model {config.model!r} takes no images; name a model that does, such as clip-ViT-B-32, with "
                "sentence-transformers 6 or later"
            )
        self.model: Any = model.to(getattr(torch, config.precision)).eval()
        self.config = config

    def prepare(self, texts: Sequence[bytes], kind: Kind) -> EncodeTexts:
        """Return a function that encodes images, given as their files hold them."""
        return partial(self._encode, list(texts))

    def _encode(self, images: list[bytes], tick: Callable[[int], None]) -> np.ndarray:
        """Return float32 vectors; images are decoded batch by batch."""
        parts = []
        for first in range(0, len(images), self.config.batch_size):
            batch = in_threads(_decode, images[first : first + self.config.batch_size])
            vectors = self.model.encode(
                batch, batch_size=len(batch), show_progress_bar=False, convert_to_tensor=True,
                normalize_embeddings=False,
            )  # fmt: skip
            parts.append(vectors.float().cpu().numpy())
            tick(len(batch))
        return np.concatenate(parts)


def _decode(content: bytes) -> Any:
    """Return an image in RGB, transparent parts on white, turned as its file says."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
            turned = turned.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned).convert("RGB")
        return turned.convert("RGB")
