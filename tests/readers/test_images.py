"""Images of a column of the user's: what is read, and what is named as wrong."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from hnmine.errors import Problems
from hnmine.readers.images import EncodedImage, read_images
from hnmine.readers.tables import Chunk
from hnmine.storage.input_files import Source

pytest.importorskip("PIL")


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    from PIL import Image

    with io.BytesIO() as file:
        Image.new("RGB", size).save(file, "png")
        return file.getvalue()


def read(folder: Path, *values: Any) -> tuple[list[EncodedImage | None], list[str]]:
    """Return the images of a column in a file of a folder, and the problems."""
    source, problems = Source("c.jsonl", LocalFileSystem(), str(folder / "c.jsonl")), Problems()
    chunk = Chunk(source, {"image": list(values)}, range(1, len(values) + 1), "line")
    return read_images(chunk, "image", list(range(len(values))), problems), problems.messages


def test_images_are_bytes_or_files_and_nothing_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    found, problems = read(tmp_path, png(), {"bytes": png()}, "a.png", {"bytes": None, "path": "a.png"}, None, "", {})
    assert found == [EncodedImage(png(), 4, 3)] * 4 + [None] * 3
    assert not problems


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"bytes": "iVBORw0KGgo="}, "an image expected: bytes, {bytes, path} or a path; found str under bytes"),
        (b"", "the file is empty"),
        (b"<html>", "damaged, or no image in a format that Pillow reads"),
        ("/dev/zero", "/dev/zero: cannot be read: it is no file"),
        ("pipe", "pipe: cannot be read: it is no file"),
        ("x" * 5_000, f"{'x' * 197}...: cannot be read: File name too long"),
        (png((64, 64))[:-40], "damaged, or no image: "),
    ],
    ids=["text for bytes", "empty", "no image", "device", "pipe", "long path", "cut off"],
)
def test_what_is_no_image_is_named(tmp_path: Path, value: Any, message: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    found, (problem,) = read(tmp_path, value)
    assert found == [None]
    assert problem.startswith(f"c.jsonl line 1: column 'image': {message}")
    assert " at 0x" not in problem
