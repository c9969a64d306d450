"""Images of the user's documents: reading them from a column, and checking that they can be decoded."""

import io
import stat
import warnings
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from hnmine.display import shorten
from hnmine.errors import InputError, MissingExtra, Problems, reason
from hnmine.readers.tables import ABSENT, Chunk
from hnmine.runtime.threads import in_threads
from hnmine.storage.input_files import Source

CHUNK_IMAGES = 256
"""Rows with images that are read at a time."""
_EXPECTED = "an image expected: bytes, {bytes, path} or a path"


class EncodedImage(NamedTuple):
    """An image as its file holds it, with its width and height in pixels."""

    content: bytes
    width: int
    height: int


def require_pillow() -> None:
    """Check that images can be decoded.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401  only whether it is there
    except ImportError:
        raise MissingExtra("input.columns.image: images need Pillow; pip install 'hnmine[images]'") from None


def read_images(chunk: Chunk, column: str, rows: list[int], problems: Problems) -> list[EncodedImage | None]:
    """Return the images of a column in some rows of a chunk; None where there is none.

    One that is missing at its place or cannot be decoded whole becomes a problem with its file, row and column.
    """
    values = chunk.columns[column]
    with warnings.catch_warnings():  # here, since threads share the filters of warnings
        warnings.simplefilter("ignore")  # of an image that is large, but not too large
        found = in_threads(lambda row: _read(values[row], chunk.source), rows)
    for index, one in zip(rows, found, strict=True):
        if isinstance(one, str):
            problems.add(f"{chunk.location(index)}: column {column!r}: {one}")
    return [one if isinstance(one, EncodedImage) else None for one in found]


def _read(value: Any, source: Source) -> EncodedImage | str | None:
    """Return an image, None for no image, or what is wrong with it."""
    content = value.get("bytes") if isinstance(value, dict) else value
    place = value.get("path") if isinstance(value, dict) else value
    if isinstance(content, bytes | bytearray):
        return _checked(bytes(content))
    if isinstance(value, dict) and content is not None:
        return f"{_EXPECTED}; found {type(content).__name__} under bytes"
    if place is None or place is ABSENT or place == "":
        return None
    if not isinstance(place, str):
        return f"{_EXPECTED}; found {type(place).__name__}"
    shown = shorten(place, 200)
    if "://" in place:
        return f"{shown}: images are not fetched from addresses; download them, and name their paths"
    try:
        content = _read_file(place, source)
    except Exception as error:  # each store's library has its own errors
        return f"{shown}: cannot be read: {reason(error)}"
    found = _checked(content)
    return f"{shown}: {found}" if isinstance(found, str) else found


def _read_file(place: str, source: Source) -> bytes:
    """Return the content of a file at an absolute path, or at one relative to the folder of the source.

    A device or a pipe of this machine, which may never end, is no file.
    """
    path = place if place.startswith("/") else str(PurePosixPath(source.path).parent / place)
    if isinstance(source.system, LocalFileSystem) and not stat.S_ISREG(Path(path).stat().st_mode):
        raise InputError("it is no file")
    return bytes(source.system.cat_file(path))


def _checked(content: bytes) -> EncodedImage | str:
    """Return an image of bytes that can be decoded to their end, or what is wrong with them."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            image.draft("RGB", (64, 64))  # of a JPEG every byte is read, and few pixels are made
            image.load()
    except UnidentifiedImageError:  # its text names an object in memory
        return "damaged, or no image in a format that Pillow reads" if content else "the file is empty"
    except Exception as error:  # decoders raise errors of many kinds
        return f"damaged, or no image: {reason(error)}"
    return EncodedImage(content, width, height)
