"""Thumbnails of documents that are images show what the model sees: turned as the file says, on white."""

import base64
import io
from pathlib import Path

import pyarrow as pa
import pytest

from hnmine.stages.report.thumbnails import thumbnails
from hnmine.storage.schemas.ingest import CORPUS, IMAGES
from hnmine.storage.store import write_table

Image = pytest.importorskip("PIL.Image", reason="images need Pillow")


def test_thumbnails_are_turned_and_transparent_parts_are_white(tmp_path: Path) -> None:
    turned, clear = io.BytesIO(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (320, 160), "red").save(turned, "JPEG", exif=exif)
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(clear, "PNG")
    corpus = pa.Table.from_pylist(
        [
            {"doc_id": name, "text": "", "text_key": row, "source_row": row, "terms": []}
            for row, name in enumerate(("turned", "clear", "text"))
        ],
        schema=CORPUS,
    )
    contents = [turned.getvalue(), clear.getvalue(), None]
    images = pa.table({"image": contents, "width": [320, 40, None], "height": [160, 20, None]}, schema=IMAGES)
    write_table(corpus, tmp_path / "corpus" / "part-00000.parquet", "key")
    write_table(images, tmp_path / "images" / "part-00000.parquet", "key")
    found = thumbnails(tmp_path, ["text", "clear", "turned", "unknown"])
    opened = {name: Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for name, uri in found.items()}
    assert {name: one.size for name, one in opened.items()} == {"clear": (40, 20), "turned": (48, 96)}
    assert opened["clear"].getpixel((5, 5)) == (255, 255, 255)
