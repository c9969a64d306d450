"""Keys under which copies of a text meet."""

import hashlib
import re
import unicodedata

# C, C++ and C# are three things: these signs after a letter or digit, or after one another, belong to their word.
_NOISE = re.compile(r"(?:(?<![\w+#])[+#]+|[^\w+#]|_)+")
# The same for text of ASCII that has neither of these signs: ten times as fast, and nearly all text is such.
_PLAIN = {code: " " for code in range(128) if not chr(code).isalnum()}


def same_text_key(text: str) -> bytes:
    """Return a 16-byte hash equal for texts that differ in spacing only: such documents are one document."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def copy_key(text: str) -> int:
    """Return a 64-bit hash equal for texts that differ in case, punctuation and spacing only.

    The text is normalised (Unicode NFKC), case-folded, and every run of what is no letter, digit or mark (the vowels
    of many scripts) becomes one space, so that 1.5 and 15 stay apart; + and # that follow a letter or digit are kept.
    A text without any keeps its signs, so that "?" and "!" stay apart. Two of n texts meet by chance with a
    probability of about n^2 / 2^65: 3e-8 at a million.
    """
    return key_of_words(_words(unicodedata.normalize("NFKC", text).casefold()), text)


def key_of_words(words: str, text: str) -> int:
    """Return the key of a text out of what it says: its normalised words with one space between, "" if it has none."""
    kept = words or " ".join(text.split())
    return int.from_bytes(hashlib.blake2b(kept.encode(), digest_size=8).digest(), "little")


def _words(text: str) -> str:
    if text.isascii() and "+" not in text and "#" not in text:
        return " ".join(text.translate(_PLAIN).split())
    if text.isascii():
        return _NOISE.sub(" ", text).strip()

    def between(noise: re.Match[str]) -> str:
        signs = noise.group()
        if signs.isascii():
            return " "
        marks = "".join(c for c in signs if unicodedata.category(c)[0] == "M")
        return marks if len(marks) == len(signs) else f"{marks} "

    return " ".join(_NOISE.sub(between, text).split())
