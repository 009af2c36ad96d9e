"""The galleries of what was looked for among many and came too late, and of facts in long captions that were misjudged."""

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from clipbench.results import numbers as fmt
from clipbench.results.titles import subset_title, within_sentence
from clipbench_reports.galleries.gallery import (
    Cosines,
    Fact,
    Failing,
    Gallery,
    GalleryImage,
    MakeGallery,
    around_difference,
    gallery,
    images,
    known,
    nearest,
    note,
    one_image,
    words,
)
from clipbench_reports.galleries.images import PageBudget
from clipbench_reports.page.evidence import Evidence, NotAsked
from clipbench_reports.page.text import quoted


class Search(NamedTuple):
    """The failures of a direction of retrieval, and the columns that show them."""

    title: str
    asked: str = ""
    """Column of what the query says."""
    right: str = ""
    """Column of what the best right item says, as the next of what came first; empty where images show it."""
    chosen: str = ""
    images: tuple[tuple[str, str], ...] = (("", "image"),)
    """Roles and columns."""


SEARCHES = {
    "image_retrieval": Search(
        title="Captions that did not find their image",
        asked="caption",
        images=(("Right", "image"), ("Came first", "chosen_image")),
    ),
    "text_retrieval": Search(title="Images that did not find their caption", right="caption", chosen="chosen_caption"),
    "image_image": Search(
        title="Images that did not find another of their class",
        asked="label",
        chosen="chosen_label",
        images=(("Query", "image"), ("Right", "right_image"), ("Came first", "chosen_image")),
    ),
    "text_text": Search(
        title="Captions that did not find another of their image",
        asked="caption",
        right="right_caption",
        chosen="chosen_caption",
    ),
    "mixed": Search(
        title="Captions that did not find their document",
        asked="caption",
        right="right_text",
        chosen="chosen_text",
        images=(("Right", "right_image"), ("Came first", "chosen_image")),
    ),
    "judged": Search(
        title="Queries whose relevant documents did not come first",
        asked="query",
        right="right_text",
        chosen="chosen_text",
        images=(("Query", "image"), ("Right", "right_image"), ("Came first", "chosen_image")),
    ),
}
ASKED = {"label": "True class", "query": "Query"}
"""Labels of a query that is no caption."""
RECORDED = {
    "caption": "the caption",
    "right_caption": "the right caption",
    "right_image": "the right image",
    "chosen_caption": "what came first instead",
    "chosen_image": "what came first instead",
    "right_cosine": "the two cosines",
}
"""Columns that older runs did not record, with what they hold."""


def unfound(direction: str) -> MakeGallery:
    """Return what makes the gallery of the queries of one direction whose right answer did not come first.

    The worst is the one with the widest margin of cosines; in an older run, which recorded none, the one that came last.
    """
    search = SEARCHES[direction]

    def make(evidence: Evidence, budget: PageBudget) -> Gallery:
        if not evidence.has_column(f"{direction}_rank"):
            raise NotAsked(direction)
        queries = _Queries(evidence, direction)
        shown = {search.asked, search.right, search.chosen, *(name for _, name in search.images), "right_cosine"}
        meaning = "Margin: the cosine of the right answer less that of what came first." if queries.has_cosines else ""
        failing = Failing(
            title=search.title,
            note=note(evidence, meaning, {name: what for name, what in RECORDED.items() if name in shown}),
            wrong=queries.rank > 1,
            margin=queries.cosines.margin if queries.has_cosines else -queries.rank,
            facts=queries.facts,
            images=queries.images,
            ids=known(evidence, "sample_id"),
            nearest=nearest(evidence),
        )
        return gallery(failing, budget)

    return make


def misjudged(evidence: Evidence, budget: PageBudget) -> Gallery:
    """Return the items of the position probe in which the false statement was preferred, by the widest margin.

    Raises:
        NotAsked: the data have no such items.
        MissingEvidence: all were judged right.
    """
    if not evidence.has_column("place"):
        raise NotAsked("position")
    margin = np.where(_is_of(evidence, "position"), evidence.numbers("margin"), np.nan)
    true, false = (
        evidence.words(name).tolist() if evidence.has_column(name) else [] for name in ("caption", "chosen_caption")
    )
    title = partial(subset_title, subsets=evidence.evaluation.subsets)
    place = [within_sentence(title(name)) for name in words(evidence, "place")]
    token, cosines = _tokens(evidence, "fact_token"), Cosines.of(evidence, margin)

    def facts(row: int) -> list[Fact]:
        right, chosen, by = cosines.written(row)
        one, other = around_difference(true[row], false[row]) if true and false else ("", "")
        at = f"{place[row]}, token {token[row]}" if _at(token, row) else place[row]
        return [
            Fact("True", one, right, whole=true[row] if true else ""),
            Fact("Preferred", other, chosen, whole=false[row] if false else ""),
            Fact("Margin", "", by),
            Fact("Place", at),
        ]

    failing = Failing(
        title="Facts that were judged wrong",
        note=note(
            evidence,
            "Margin: the cosine of the true caption less that of the false one, which says one thing otherwise. "
            "Ties, as of a fact beyond the window, are left out.",
            {name: RECORDED.get(name, "") for name in ("caption", "right_cosine")},
        ),
        wrong=margin < 0,
        margin=margin,
        facts=facts,
        images=one_image(evidence, lambda row: f"The image of a statement that stands {place[row]} in its caption."),
        ids=known(evidence, "sample_id"),
    )
    return gallery(failing, budget)


class _Queries:
    """The queries of one direction, as they are shown."""

    def __init__(self, evidence: Evidence, direction: str) -> None:
        self._search = search = SEARCHES[direction]
        self.rank = np.where(_is_of(evidence, direction), evidence.numbers(f"{direction}_rank"), np.nan)
        margin = f"{direction}_margin"
        self.has_cosines = evidence.has_column(margin)
        self.cosines = Cosines.of(evidence, evidence.numbers(margin) if self.has_cosines else self.rank * np.nan)
        self._asked, self._right, self._chosen = (
            known(evidence, name) for name in (search.asked, search.right, search.chosen)
        )
        self._tokens, self._lost = (_tokens(evidence, f"{direction}/{name}") for name in ("n_tokens", "tokens_lost"))
        roles = [(role, name) for role, name in search.images if evidence.has_column(name)]
        others = [(role, name) for role, name in roles if role != "Came first"]
        self._show, self._show_tied = (
            images(evidence, *((role if len(each) > 1 else "", name) for role, name in each), say=self._say)
            for each in (roles, others)
        )

    def facts(self, row: int) -> list[Fact]:
        right, first, margin = self.cosines.written(row)
        at = f"at rank {fmt.significant(float(self.rank[row]))}{', tied' if self._is_tied(row) else ''}"
        tokens, lost = _at(self._tokens, row), _at(self._lost, row)
        unread = f", {lost} of them not read" if lost not in ("", "0") else ""
        return [
            Fact(ASKED.get(self._search.asked, "Caption"), _at(self._asked, row)),
            Fact("Right", _at(self._right, row), right, at),
            *([] if self._is_tied(row) else [Fact("Came first", _at(self._chosen, row), first)]),
            Fact("Margin", "", margin),
            Fact("Tokens", f"{tokens}{unread}" if tokens else ""),
        ]

    def images(self, row: int) -> list[GalleryImage]:
        """Return the images of a query; of one that ties for the first place, not itself once more."""
        return (self._show_tied if self._is_tied(row) else self._show)(row)

    def _say(self, row: int, role: str) -> str:
        if role == "Came first":
            return "What came first instead."
        of = f" of {quoted(self._asked[row])}" if _at(self._asked, row) else ""
        return f"The image{of}; the right answer came at rank {fmt.significant(float(self.rank[row]))}."

    def _is_tied(self, row: int) -> bool:
        """Return whether the right answer has the highest score, as others do."""
        right, chosen = self.cosines.right, self.cosines.chosen
        return right is not None and chosen is not None and bool(right[row] == chosen[row])


def _is_of(evidence: Evidence, direction: str) -> Bool[np.ndarray, " n"]:
    return np.array([way == direction for way in words(evidence, "direction")])


def _tokens(evidence: Evidence, name: str) -> list[str]:
    """Return a column of numbers of tokens in words, or nothing where the run did not keep it."""
    if not evidence.has_column(name):
        return []
    return [fmt.count(n) if np.isfinite(n) else "" for n in evidence.numbers(name).tolist()]


def _at(column: list[str], row: int) -> str:
    return column[row] if column else ""
