"""Small pictures of documents that are images, for the examples of the report's page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.models.image_encoder import decode
from hnmine.runtime.threads import in_threads
from hnmine.storage.schemas.ingest import CORPUS, IMAGES
from hnmine.storage.store import Shards

MOST_THUMBNAILS = 300
"""Thumbnails of a page; the other documents are shown by their texts alone."""
_SIDE = 96
"""Pixels of a thumbnail's longer side."""


def thumbnails(ingest: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return data URIs of JPEG thumbnails of the images among the first `MOST_THUMBNAILS` documents, by id."""
    wanted, corpus, rows = list(ids[:MOST_THUMBNAILS]), Shards(ingest / "corpus", CORPUS), dict[str, int]()
    for number, first in enumerate(corpus.offsets[:-1].tolist()):
        names = corpus.read(number, ["doc_id"]).column(0)
        places = np.flatnonzero(pc.is_in(names, value_set=pa.array(wanted, pa.string())).to_numpy())
        rows |= {names[place].as_py(): first + place for place in places.tolist()}
    found = [name for name in wanted if name in rows]
    at = np.array([rows[name] for name in found], dtype=np.int64)
    contents = Shards(ingest / "images", IMAGES).take(at, ["image"]).column(0).to_pylist()
    images = {name: content for name, content in zip(found, contents, strict=True) if content is not None}
    return dict(zip(images, in_threads(_thumbnail, images.values()), strict=True))


def _thumbnail(content: bytes) -> str:
    small = decode(content, _SIDE)
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
