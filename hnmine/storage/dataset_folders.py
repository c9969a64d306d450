"""Folders of the library `datasets`: which of their files are the rows, and in which order.

`Dataset.save_to_disk` writes Arrow files and `state.json`; `DatasetDict.save_to_disk` writes one such folder for each
split and `dataset_dict.json`. A repository for the hub has a README.md whose front matter names the files of its
configurations and splits.
"""

import json
from typing import Any

from hnmine.errors import InputError, few

STATE, SPLITS, CARD = "state.json", "dataset_dict.json", "README.md"


def dataset_files(system: Any, folder: str, shown: str) -> list[str] | None:
    """Return the files of a folder of `datasets`, in the order of its rows; None for any other folder.

    Args:
        system: the fsspec file system.
        folder: the folder's path in it.
        shown: its name for messages.

    Raises:
        InputError: it holds several splits or configurations, or rows selected by a file of indices; or a file that
            it names is missing.
    """
    if isinstance(splits := _json(system, f"{folder}/{SPLITS}", "splits"), list):
        raise InputError(f"a DatasetDict with the splits {few(splits, 8)}; name one of them: {shown}/SPLIT")
    if (named := _json(system, f"{folder}/{STATE}", "_data_files")) is not None:
        if _json(system, f"{folder}/{STATE}", "_indices_data_files"):
            raise InputError(
                f"its rows are chosen by a file of indices ({STATE}: _indices_data_files); "
                "call flatten_indices() before save_to_disk()"
            )
        try:
            files = [f"{folder}/{one['filename']}" for one in named]
        except (TypeError, KeyError):
            raise InputError(f"{STATE}: _data_files is not as `datasets` writes it; save the dataset again") from None
        if not files:
            raise InputError(f"a dataset without rows ({STATE} names no files)")
        if missing := [file.rpartition("/")[2] for file in files if not system.isfile(file)]:
            raise InputError(f"{STATE} names files that are missing: {few(missing)}; save the dataset again")
        return files
    return _files_of_card(system, folder, shown)


def _json(system: Any, path: str, key: str) -> Any:
    """Return an entry of a JSON file; None if the file or the entry is not there."""
    if not system.isfile(path):
        return None
    try:
        found = json.loads(system.cat_file(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.rpartition('/')[2]}: not valid JSON: {error}") from None
    return found.get(key) if isinstance(found, dict) else None


def _files_of_card(system: Any, folder: str, shown: str) -> list[str] | None:
    """Return the files that the front matter of README.md names, None if it names none."""
    if not system.isfile(f"{folder}/{CARD}"):
        return None
    parts = [
        (name, split, pattern)
        for name, given in _configs(system.cat_file(f"{folder}/{CARD}").decode("utf-8", "replace"))
        for split, patterns in _splits(given)
        for pattern in patterns
    ]
    if len({part[:2] for part in parts}) > 1:
        several = ", ".join(f"{name} {split}: {shown}/{pattern}" for name, split, pattern in parts[:12])
        raise InputError(f"{CARD} names several configurations or splits; name the files of one: {several}")
    if not parts:
        return None
    found = [path for *_, pattern in parts for path in sorted(system.glob(f"{folder}/{pattern}"))]
    if not found:
        raise InputError(f"{CARD} names {few([part[-1] for part in parts])}, and no such file is there; name the files")
    return list(dict.fromkeys(found))


def _configs(card: str) -> list[tuple[str, Any]]:
    """Return the name and `data_files` of each configuration in the front matter of a card.

    Only the default one counts where there is one, as for `load_dataset`: that with `default: true`, or that name.
    """
    if not card.startswith("---"):
        return []
    from huggingface_hub import RepoCard

    try:
        front = dict(vars(RepoCard(card, ignore_metadata_errors=True).data))
    except Exception:  # a front matter that is no YAML, or no table, names no files
        return []
    configs = front.get("configs")
    tables = [one for one in (configs if isinstance(configs, list) else []) if isinstance(one, dict)]
    marked = [one for one in tables if one.get("default") is True]
    default = marked or [one for one in tables if one.get("config_name") == "default"]
    return [(str(one.get("config_name", "default")), one.get("data_files")) for one in default or tables]


def _splits(given: Any) -> list[tuple[str, list[str]]]:
    """Return the patterns of each split of `data_files`: a pattern, a list of them, or those of each split."""
    if isinstance(given, dict):
        return [(str(split), _patterns(paths)) for split, paths in given.items()]
    named = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    return [
        ("train", _patterns(given)),
        *((str(one.get("split", "train")), _patterns(one.get("path"))) for one in named),
    ]


def _patterns(given: Any) -> list[str]:
    return [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, str)]
