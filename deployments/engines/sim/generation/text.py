"""The simulated engine's words, each chosen by the text before it.

As with a language model at temperature 0, the next word is a pure function of the text so far. So an answer that is cut
between two words continues with the same words, on the same engine or another. A word is one token: an answer that is
cut within a word may go on with another one that begins alike, as a model reads a part of a token as other tokens.
"""

from xxhash import xxh3_64_intdigest

TAIL_CHARS = 192
"""Number of last characters of the text that the choice of a word depends on."""

# About 4 characters per word with its space, like a token of English text. A few words have more bytes than characters,
# to expose code that cuts text at bytes.
_WORDS = """
    the a an it is of to in on at by as we you they she he one two three old new red big own all any few for and but not
    so or if how who why can may was are has had see say go do use run map key sea sun sky day way man top end law art
    ice oil air age eye ear arm leg car bus bed box cup pen job tea pie hat dog cat cow bee owl fox ant elm oak ivy fig
    sand wind rain snow fire lake road city gold salt time year week hand word line page book song game team café naïve
    über año Zürich señor 東京 世界 🙂 → now then here also just more most very into over with from like both each such
"""
VOCABULARY = tuple(_WORDS.split())


def next_word(tail: str, salt: int) -> str:
    """Return the word that follows `tail`, with a space before it unless a line begins.

    Args:
        tail: the text so far, or at least its last `TAIL_CHARS` characters.
        salt: makes the choices of one request differ, and requests with different seeds.
    """
    word = VOCABULARY[_drawn(tail, salt) % len(VOCABULARY)]
    return word if not tail or tail.endswith("\n") else " " + word


def rest_of_word(text: str, salt: int) -> str:
    """Return the rest of a word for a text that breaks off within one; "": it does not, as far as can be seen.

    It is the rest of any word that begins like that.

    Args:
        text: prompt and begun answer.
        salt: as for `next_word`.
    """
    start = text.rfind(" ")
    if start < 0:
        return ""
    word, part = next_word(text[:start], salt), text[start + 1 :]
    if word.strip() == part or not word.strip().startswith(part):
        return ""
    alike = [each for each in VOCABULARY if each.startswith(part) and each != part]
    return alike[_drawn(text, salt) % len(alike)][len(part) :]


def answer_words(tail: str, salt: int, mean_words: int) -> int:
    """Return the length, in words, of an answer that begins after `tail`: between 0.5 and 1.5 times the mean."""
    return max(1, mean_words // 2 + _drawn(tail, salt ^ 0x5BD1E995) % (mean_words + 1))


def _drawn(tail: str, salt: int) -> int:
    return xxh3_64_intdigest(tail[-TAIL_CHARS:].encode("utf-8", "surrogatepass"), seed=salt)
