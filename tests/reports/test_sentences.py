"""Sentences and captions of the example report are short: a reader takes them in at once."""

import re
from html import unescape
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "docs/example-report.html"
MOST_WORDS_OF_A_SENTENCE = 30
MOST_WORDS_OF_A_CAPTION = 45

pytestmark = pytest.mark.skipif(not REPORT.is_file(), reason="docs/ is not part of the source distribution")


def texts(html: str, pattern: str) -> list[str]:
    """Return the different texts that a pattern finds in HTML, without tags."""
    matches = re.findall(pattern, html, re.DOTALL)
    return [*dict.fromkeys(" ".join(unescape(re.sub(r"<[^>]+>", " ", match)).split()) for match in matches)]


def without_marks(html: str) -> str:
    """Return HTML without the words of the marks before findings, such as "Not shown"."""
    return re.sub(r'<span class="sign.*?<span class="unseen">: </span></span>', "", html)


def findings(html: str) -> list[str]:
    """Return what the report says of each evaluation, without the words of the mark."""
    html = without_marks(html)
    lists = "".join(re.findall(r'<ul class="findings">(.*?)</ul>', html, re.DOTALL))
    return texts(lists, r"<li>(.*?)</li>") + texts(html, r'class="finding"[^>]*>(.*?)</p>')


def paragraphs(html: str) -> list[str]:
    """Return all paragraphs but captions: questions, rules, advice and notes among them."""
    return texts(without_marks(html), r'<p(?![^>]*class="reading")(?: [^>]*)?>(.*?)</p>')


def captions(html: str) -> list[str]:
    """Return the captions of figures and tables."""
    return texts(html, r'<p class="reading">(.*?)</p>') + texts(html, r"<caption[^>]*>(.*?)</caption>")


def too_long(paragraphs: list[str], most_words: int, *, by_sentence: bool) -> list[str]:
    """Return the paragraphs, or their sentences, with more words."""
    pieces = paragraphs
    if by_sentence:
        pieces = [piece for text in paragraphs for piece in re.split(r"(?<=[.?!;])\s+(?=[A-Z“])", text)]
    return [f"{len(piece.split())} words: {piece}" for piece in pieces if len(piece.split()) > most_words]


def test_no_sentence_of_the_example_report_is_long() -> None:
    html = REPORT.read_text(encoding="utf-8")
    sentences = [*findings(html), *paragraphs(html)]
    assert len(findings(html)) > 15 and len(paragraphs(html)) > 40
    assert not too_long(sentences, MOST_WORDS_OF_A_SENTENCE, by_sentence=True)


def test_no_caption_of_the_example_report_is_long() -> None:
    found = captions(REPORT.read_text(encoding="utf-8"))
    assert len(found) > 20
    assert not too_long(found, MOST_WORDS_OF_A_CAPTION, by_sentence=False)


def test_a_long_sentence_and_a_long_caption_are_seen() -> None:
    html = f'<ul class="findings"><li><b>A</b>{" word" * 30}.</li></ul><p class="reading">{"word " * 46}</p>'
    assert too_long(paragraphs(f"{html}<p>{'word ' * 31}</p>"), MOST_WORDS_OF_A_SENTENCE, by_sentence=True) == [
        f"31 words: {' '.join(['word'] * 31)}"
    ]
    assert too_long(findings(html), MOST_WORDS_OF_A_SENTENCE, by_sentence=True)[0].startswith("31 words: A word")
    assert too_long(captions(html), MOST_WORDS_OF_A_CAPTION, by_sentence=False)[0].startswith("46 words: word")
