"""What the simulated engine says: words chosen by the text before them.

Like a language model at temperature 0, the next word is a pure function of the text so far. So an answer cut off
anywhere between two words and continued from the cut, by the same engine or another, goes on exactly as it would have.
"""

from xxhash import xxh3_64_intdigest

TAIL_CHARS = 192
"""How far back the choice of a word looks."""

# About 4 characters a word with its space, as a token of English text has; a few take more bytes than characters, so
# that whoever cuts text at bytes is found out.
_WORDS = """
    the a an it is of to in on at by as we you they she he one two three old new red big own all any few for and but not
    so or if how who why can may was are has had see say go do use run map key sea sun sky day way man top end law art
    ice oil air age eye ear arm leg car bus bed box cup pen job tea pie hat dog cat cow bee owl fox ant elm oak ivy fig
    sand wind rain snow fire lake road city gold salt time year week hand word line page book song game team café naïve
    über año Zürich señor 東京 世界 🙂 → now then here also just more most very into over with from like both each such
"""
VOCABULARY = tuple(_WORDS.split())


def next_word(tail: str, salt: int) -> str:
    """Return the word that follows text ending in `tail`, with the space before it unless a line begins.

    Args:
        tail: the text so far, or at least its last `TAIL_CHARS` characters.
        salt: tells the choices of one request apart, and requests with different seeds.
    """
    word = VOCABULARY[_drawn(tail, salt) % len(VOCABULARY)]
    return word if not tail or tail.endswith("\n") else " " + word


def answer_words(tail: str, salt: int, mean_words: int) -> int:
    """Return how many words an answer has that begins after `tail`: from half to one and a half times the mean."""
    return max(1, mean_words // 2 + _drawn(tail, salt ^ 0x5BD1E995) % (mean_words + 1))


def _drawn(tail: str, salt: int) -> int:
    return xxh3_64_intdigest(tail[-TAIL_CHARS:].encode("utf-8", "surrogatepass"), seed=salt)
