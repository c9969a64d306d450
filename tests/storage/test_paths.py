"""Paths that a text may name."""

from hnmine.storage.paths import existing_path


def test_a_text_names_what_exists_from_its_folder_or_the_home_folder_on(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "~me").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing_path("model", tmp_path) == existing_path("~/model") == tmp_path / "model"
    assert existing_path(str(tmp_path), tmp_path / "model") == tmp_path
    for text in ("modell", "~no-such-user/model", "x" * 5_000, "a\0b", "a/" * 5_000):
        assert existing_path(text, tmp_path) is None
