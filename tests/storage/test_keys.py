import json
from pathlib import Path

import pytest

from hnmine.storage.store import digest, is_done, item_key, recorded


def test_digests() -> None:
    assert digest({"a": 1, "b": [1.5, None, "é"]}) == digest({"b": [1.5, None, "é"], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))
    one = item_key("k", "corpus", 0, 256)
    others = [item_key("l", "corpus", 0, 256), item_key("k", "queries", 0, 256), item_key("k", "corpus", 256, 256)]
    assert len({one, *others, item_key("k", "corpus", 0, 255)}) == 5
    assert one == item_key("k", "corpus", 0, 256)


def test_what_a_folder_says_of_itself(tmp_path: Path) -> None:
    assert recorded(tmp_path) is None
    assert not is_done(tmp_path, "k")
    (tmp_path / "_started.json").write_text(json.dumps({"key": "k"}))
    assert recorded(tmp_path) == {"key": "k"}
    assert not is_done(tmp_path, "k"), "started is not done"
    (tmp_path / "_manifest.json").write_text(json.dumps({"key": "k"}))
    assert is_done(tmp_path, "k")
    assert not is_done(tmp_path, "l")
    (tmp_path / "_manifest.json").write_text("{")
    assert not is_done(tmp_path, "k")
