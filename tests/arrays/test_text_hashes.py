"""Many texts at once hash to what each hashes to by itself."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.arrays import text_hashes as manytexts
from hnmine.arrays.text_hashes import copy_key, hash_texts, same_text_key, terms

# plain words and signs, the signs that are no plain text, other scripts, and letters that fold into two
words = st.text("abAB09 .,-?!\n\t\x00_+#", max_size=12)
texts = st.lists(st.one_of(words, st.text(max_size=8), st.sampled_from(["Straße", "C++", "ﬁne", "दिन", "İ"])))


def one_by_one(given_texts):
    own = [terms(text) for text in given_texts]
    return (
        [copy_key(text) for text in given_texts],
        np.concatenate([np.zeros(0, dtype=np.int32), *own]).tolist(),
        [len(part) for part in own],
    )


def hashed(given_texts):
    """Return the same of all of them at once; the types are those that are stored."""
    found = hash_texts(given_texts)
    assert (found.keys.dtype, found.terms.dtype, found.lengths.dtype) == (np.uint64, np.int32, np.int64)
    return found.keys.tolist(), found.terms.tolist(), found.lengths.tolist()


@given(texts)
def test_texts_hash_as_each_does_alone(given_texts):
    assert hashed(given_texts) == one_by_one(given_texts)


@pytest.mark.parametrize("texts_of", [1, 2, 5, 1000])
@pytest.mark.parametrize("size", [1, 5, 9, 1000])
def test_portions_change_nothing(size, texts_of, monkeypatch):
    monkeypatch.setattr(manytexts, "_TEXTS", texts_of)
    monkeypatch.setattr(manytexts, "_BYTES", size)
    given_texts = ["one two", "", "Two, two; ONE", "snake_case", "", "naïve 東京", "?", "a b c d e f g h", ""]
    assert hashed(given_texts) == one_by_one(given_texts)


def normalised_by_hand(text):
    """Return the words of a folded text, sign by sign: a run of noise is one space after the marks that it holds."""
    out, run = "", ""
    for place, sign in enumerate(text):
        before = text[:place].rstrip("+#")[-1:] if sign in "+#" else ""
        if sign.isalnum() or before.isalnum() or before == "_":
            out, run = out + gap(run) + sign, ""
        else:
            run += sign
    return " ".join((out + gap(run)).split())


def gap(run):
    marks = "".join(sign for sign in run if unicodedata.category(sign).startswith("M"))
    return marks if len(marks) == len(run) else f"{marks} "


@given(st.text(st.one_of(st.sampled_from("aB1é +#_.,\u0301\u093f\u0e34\u2013\u200b"), st.characters(codec="utf-8"))))
def test_words_of_a_copy_key_are_those_found_sign_by_sign(text):
    assert manytexts._normalised(text) == normalised_by_hand(text)


def test_slices_of_an_array():
    given_texts = ["no part", "Über a+b", "one, two", "", "three one"]
    found = hash_texts(pa.array(given_texts).slice(1, 4))
    assert found.keys.tolist() == one_by_one(given_texts[1:])[0]
    assert found.terms.tolist() == one_by_one(given_texts[1:])[1]


def test_no_texts():
    assert hashed([]) == one_by_one([])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, world!", "hello world"),
        ("hello - world", "(hello) world"),
        ("written in C++.", "Written in c++"),
        ("a + b", "a b"),
        ("Straße", "STRASSE"),
        ("snake_case", "snake case"),
        ("caf\u00e9", "cafe\u0301"),
        ("\ufb01ne", "fine"),
        ("\uff21\uff22\uff23", "abc"),
        ("a\u00a0b\tc\n", "a b c"),
        ("दिन, दान", "दिन दान"),
    ],
)
def test_texts_that_differ_in_case_punctuation_and_spacing_are_copies(one, other):
    assert copy_key(one) == copy_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "cut"),
        ("version 1", "version 2"),
        ("cafe", "caf\u00e9"),
        ("?", "!"),
        ("...", ""),
        ("ab", "ba"),
        ("hello world", "helloworld"),
        ("version 1.5", "version 15"),
        ("written in C", "written in C++"),
        ("written in C++", "written in C#"),
        ("दिन", "दान"),  # Devanagari: day, donation; they differ in a vowel sign only
        ("กิน", "กัน"),  # Thai: to eat, each other; likewise
    ],
)
def test_texts_that_differ_in_letters_marks_or_digits_are_no_copies(one, other):
    assert copy_key(one) != copy_key(other)


@given(st.text())
def test_a_copy_key_fits_64_bits_and_ignores_spacing_around(text):
    assert 0 <= copy_key(text) < 2**64
    assert copy_key(f"  {text}\n") == copy_key(text)


@given(st.lists(st.text(alphabet="abcXYZ019.,-", min_size=1), min_size=1), st.sampled_from([" ", "  ", "\t", "\n "]))
def test_spacing_between_words_changes_neither_key(words, gap):
    assert same_text_key(gap.join(words)) == same_text_key(" ".join(words))
    assert copy_key(gap.join(words)) == copy_key(" ".join(words))


@given(st.text("ab \n.", max_size=4), st.text("ab \n.", max_size=4))
def test_the_same_text_implies_a_copy(one, other):
    if same_text_key(one) == same_text_key(other):
        assert copy_key(one) == copy_key(other)
    assert (same_text_key(one) == same_text_key(other)) == (one.split() == other.split())


@pytest.mark.parametrize(("one", "other"), [("Hello", "hello"), ("a.", "a"), ("ab", "a b"), ("", ".")])
def test_case_and_punctuation_keep_documents_apart(one, other):
    assert same_text_key(one) != same_text_key(other)


def test_keys_stay_what_they_are_from_run_to_run():
    # stored in shards: a change here needs a new version of the ingest stage
    assert copy_key("Hello, world!") == copy_key("HELLO WORLD") == 0x50B1A332AA338687
    assert same_text_key(" Hello,  world! ").hex() == "9bbbb7410fa6464a1a6a216919179455"
