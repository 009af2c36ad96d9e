"""A pool on disk: judged data whose judgements are made here, with the candidates of each query, blind to models.

- pool.json: the models and finished rankings with their fingerprints, the folder of photographs, k and the seed
- corpus.jsonl: the photographs, which are judged data with queries.jsonl and qrels/test.txt (``readers.judged``)
- candidates.jsonl: the photographs to judge for each query, shuffled, with queries in the order of judging
- rankings.jsonl: the first k of each model, and the photographs drawn at random, which the page never shows
- log.jsonl: the judgements, one per line, to which lines are only ever appended (``choosing.judgement_log``)
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from clipbench.data.questions import POOL_FACTS
from clipbench.errors import DataError, NotComparable, UsageError, on_command_line
from clipbench.results.record import PriceRecord
from clipbench.untrusted.reading import is_file, parse_json, read_json, read_text, shown
from clipbench.untrusted.schema import SchemaError, parse_record

FACTS, CORPUS, QUERIES, QRELS = POOL_FACTS, "corpus.jsonl", "queries.jsonl", "qrels/test.txt"
CANDIDATES, RANKINGS, LOG = "candidates.jsonl", "rankings.jsonl", "log.jsonl"
GRADES = ("not relevant", "somewhat", "relevant", "perfect")
"""The word of each grade, from 0."""
MOST_GRADE = len(GRADES) - 1
_ADVICE = "Make the pool again in another folder"

Line = TypeVar("Line")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The content of ``pool.json``: pools of equal facts and queries are equal, whatever their prices."""

    models: Mapping[str, str]
    """The fingerprint of each model and finished ranking, by its name."""
    images: str
    """The folder of photographs."""
    n_images: int
    content: str
    """Hash of all photographs."""
    k: int
    n_random: int
    seed: int
    rankings: list[str] = field(default_factory=list)
    """Names of the finished rankings among the models."""
    prices: Mapping[str, PriceRecord] = field(default_factory=dict)
    """Prices of one query of each model, by its name, empty if that was not measured."""

    def check_same(self, existing: "Facts", folder: Path) -> None:
        """Raise an error unless an existing pool has these facts: judgements are never overwritten.

        Raises:
            NotComparable: a model has another fingerprint by now.
            UsageError: anything else differs.
        """
        for name in self.models.keys() & existing.models.keys():
            if self.models[name] != existing.models[name]:
                raise NotComparable(
                    f"{folder} holds a pool of another version of {name}: its fingerprint is {self.models[name]}, and"
                    f" was {existing.models[name]}. Name another folder"
                )
        before = asdict(existing) | {"prices": asdict(self)["prices"]}
        if changed := ", ".join(name for name, value in asdict(self).items() if value != before[name]):
            raise UsageError(
                f"{folder} holds another pool ({changed} differ), and judgements are never overwritten: "
                "name another folder"
            )


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A pool without the models' rankings."""

    folder: Path
    facts: Facts
    queries: Mapping[str, str]
    """Texts by id, in the order in which they are judged."""
    candidates: Mapping[str, list[str]]
    """Ids of photographs by the query's id."""
    batches: Mapping[str, int]
    """By query, the number of queries before it was added. Queries of one batch are in random order."""
    images: Mapping[str, Path]

    def name(self, image: str) -> str:
        """Return the path of a photograph in its folder.

        Args:
            image: id of the photograph, such as ``"p1"``.
        """
        return str(self.images[image]).removeprefix(f"{self.facts.images}{os.sep}")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The photographs of a query: each model's first ones, and random ones."""

    query: str
    models: Mapping[str, list[str]]
    """The first k photographs of each model, the best first, or fewer of a finished ranking."""
    random: list[str]
    """Others, drawn at random."""


@dataclass(frozen=True)
class _Query:
    _id: str
    text: str


@dataclass(frozen=True)
class _Image:
    _id: str
    image: str


@dataclass(frozen=True)
class _Candidates:
    query: str
    images: list[str]
    batch: int


def read_pool(folder: Path) -> Pool:
    """Return the pool in a folder.

    Raises:
        UsageError: there is none.
        DataError: a file of it is damaged. The message names the line.
    """
    if not is_file(folder / FACTS):
        advice = on_command_line(f", made by clipbench pool --out {folder}")
        raise UsageError(f"{folder} is not a pool: expected a folder with {FACTS}{advice}")
    facts = _fitted(Facts, read_json(folder / FACTS, DataError), str(folder / FACTS), _ADVICE)
    texts = {line._id: line.text for _, line in lines(folder / QUERIES, _Query)}
    images = {line._id: Path(line.image) for _, line in lines(folder / CORPUS, _Image)}
    if facts.k < 1 or len(facts.models) < 2 or facts.n_images != len(images):
        raise DataError(
            f"{folder / FACTS}: expected k above 0, two models or more, and n_images equal to the number of images in"
            f" {CORPUS}. {_ADVICE}"
        )
    candidates, batches = dict[str, list[str]](), dict[str, int]()
    for source, line in lines(folder / CANDIDATES, _Candidates):
        unknown = [name for name in line.images if name not in images]
        if line.query not in texts:
            unknown.append(line.query)
        if unknown:
            raise DataError(f"{source}: got {shown(unknown[0])}, which the pool lacks. {_ADVICE}")
        if not line.images:
            raise DataError(f"{source}: got no candidates of query {shown(line.query)}. {_ADVICE}")
        if line.query in candidates:
            raise DataError(f"{source}: got query {shown(line.query)} a second time. {_ADVICE}")
        candidates[line.query], batches[line.query] = line.images, line.batch
    if missing := sorted(texts.keys() - candidates.keys()):
        raise DataError(f"{folder / CANDIDATES} has no candidates of query {missing[0]}. {_ADVICE}")
    return Pool(
        folder=folder,
        facts=facts,
        queries={query: texts[query] for query in candidates},
        candidates=candidates,
        batches=batches,
        images=images,
    )


def read_rankings(pool: Pool) -> dict[str, Ranking]:
    """Return the rankings of all models by query, or raise DataError if one is damaged or of another pool."""
    rankings: dict[str, Ranking] = {}
    for source, line in lines(pool.folder / RANKINGS, Ranking):
        facts = pool.facts
        depth = min(facts.k, facts.n_images)
        has_wrong_depth = False
        for name, first in line.models.items():
            may_be_short = name in facts.rankings
            if len(first) > depth or (len(first) < depth and not may_be_short):
                has_wrong_depth = True
        ranked = set(line.random).union(*line.models.values())
        has_other_images = ranked != set(pool.candidates.get(line.query, ()))
        if line.models.keys() != facts.models.keys() or has_wrong_depth or has_other_images:
            raise DataError(
                f"{source}: expected the same models and k as in {FACTS}, and the same photographs as in"
                f" {CANDIDATES}. {_ADVICE}"
            )
        rankings[line.query] = line
    if missing := [query for query in pool.queries if query not in rankings]:
        raise DataError(f"{pool.folder / RANKINGS} has no ranking of query {missing[0]}. {_ADVICE}")
    return rankings


def lines(file: Path, kind: type[Line], advice: str = _ADVICE) -> Iterator[tuple[str, Line]]:
    """Yield the lines of a file, each with file and number, or raise DataError, with advice, for another form."""
    for number, text in enumerate(read_text(file, DataError).split("\n"), 1):
        if text.strip():
            source = f"{file}, line {number}"
            yield source, _fitted(kind, parse_json(text, source, DataError), source, advice)


def _fitted(kind: type[Line], data: object, source: str, advice: str) -> Line:
    try:
        return parse_record(kind, data)
    except SchemaError as error:
        raise DataError(f"{source}: {error}. {advice}") from error
