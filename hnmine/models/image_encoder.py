"""Vectors of images and texts, by sentence-transformers models that take both, such as CLIP."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hnmine.config.models import EmbedConfig, Kind, TeacherTable
from hnmine.errors import ModelError
from hnmine.models.encoders import EncodeTexts, ModelEncoder
from hnmine.runtime.threads import in_threads
from hnmine.storage.store import Shards, TextReader

IMAGE_CELL_ROWS = 256
"""Images that are encoded together; a divisor of the rows of any text encoder's cells."""


class ImageReader:
    """Reads the images of documents or queries, and the texts of those without one.

    Args:
        images: a table of images.
        texts: the texts of the documents or queries that count.
        rows: int64, the row of each of them in `images`; None where it has theirs alone, in order.
    """

    def __init__(self, images: Shards, texts: TextReader, rows: np.ndarray | None = None) -> None:
        self._images, self._texts, self._rows = images, texts, rows

    def read(self, first: int, last: int) -> list[bytes | str]:
        """Return those at positions [first, last); fewer where the rows end before. Images are bytes."""
        rows = np.arange(first, min(last, self._images.rows)) if self._rows is None else self._rows[first:last]
        images = self._images.take(rows, ["image"]).column(0).to_pylist()
        texts = self._texts.read(first, last)
        return [text if image is None else image for image, text in zip(images, texts, strict=True)]


def query_image_rows(queries: Shards) -> np.ndarray:
    """Return the row of each query's image in `ingest/query-images`, int64: the query's place in the input."""
    return np.asarray(queries.column("source_row").to_numpy())


class ImageEncoder(ModelEncoder):
    """A sentence-transformers model that takes images and texts; `table` names the teacher's table in messages.

    Raises:
        ModelError: the model cannot be loaded, or takes no images.
    """

    def __init__(self, config: EmbedConfig, table: TeacherTable = "embed") -> None:
        super().__init__(config, table)
        if not hasattr(self.model, "supports") or not self.model.supports("image"):
            raise ModelError(
                f"{table}.model {config.model!r} takes no images; name a model that does, such as clip-ViT-B-32, with "
                "sentence-transformers 6 or later"
            )
        self.cell_rows = IMAGE_CELL_ROWS

    def prepare(self, texts: Sequence[bytes | str], kind: Kind) -> EncodeTexts:
        """Return a function that encodes texts, and images as their files hold them."""
        images = [row for row, one in enumerate(texts) if isinstance(one, bytes)]
        others = [row for row, one in enumerate(texts) if isinstance(one, str)]
        contents = [one for one in texts if isinstance(one, bytes)]
        of_texts = super().prepare([one for one in texts if isinstance(one, str)], kind) if others else None

        def encode(tick: Callable[[int], None]) -> np.ndarray:
            parts = [self._encode_images(contents, tick)] if images else []
            if of_texts is not None:
                parts.append(of_texts(tick))
            return np.concatenate(parts)[np.argsort(images + others)]

        return encode

    def _encode_images(self, images: list[bytes], tick: Callable[[int], None]) -> np.ndarray:
        """Return float32 vectors; images are decoded batch by batch."""
        parts = []
        for first in range(0, len(images), self.config.batch_size):
            batch = in_threads(decode, images[first : first + self.config.batch_size])
            vectors = self.model.encode(
                batch, batch_size=len(batch), show_progress_bar=False, convert_to_tensor=True,
                normalize_embeddings=False,
            )  # fmt: skip
            parts.append(vectors.float().cpu().numpy())
            tick(len(batch))
        return np.concatenate(parts)


def decode(content: bytes, side: int | None = None) -> Any:
    """Return an image in RGB, transparent parts on white, turned as its file says.

    `side` says that it is shown no larger than a square of as many pixels, so that a JPEG may be decoded smaller.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        if side is not None:
            image.draft("RGB", (2 * side, 2 * side))
        turned = ImageOps.exif_transpose(image)
        if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
            turned = turned.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned).convert("RGB")
        return turned.convert("RGB")
