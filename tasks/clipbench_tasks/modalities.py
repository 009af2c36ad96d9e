"""Several modalities: gap, cones, cosines, recall@1 and separability of every two of them.

A pair of modalities, such as audio and text, is measured as ``modality-gap`` measures images and texts, and as
``retrieval`` searches among them: each item of the one that the other points to with its first partner. Where nothing
says which items of two modalities belong together, their pair is undefined, with the reason.

Metrics are named by modality (``audio/cone``), by pair (``audio-text/gap``) and by direction
(``audio-to-text/recall@1``: a recording looks for its text). Rows of the table of samples are items, for cones, and
queries; numbers of a pair are in the rows of the items that the other modality points to. What belongs together over
all modalities is a cluster.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from clipbench.data.dataset import Dataset
from clipbench.data.modalities import Modalities, unpaired_message
from clipbench.errors import MissingPart, UsageError
from clipbench.evaluation.task import Evaluation, Task
from clipbench.metrics.geometry import cone, gap_noise, pair_geometry
from clipbench.metrics.probes import separability
from clipbench.metrics.ranking import Answers, chance_recall_at_k, cross_answers, recall_at_k
from clipbench.models.protocol import Embedder, Sides
from clipbench.results.metric_name import base_name
from clipbench.seeding import generator
from clipbench.stats.measures import Definition, Mean, Measures, define, undefined
from clipbench_tasks.directions import search_both_ways
from clipbench_tasks.tables import (
    Rows,
    Table,
    Vectors,
    column_at_rows,
    cosine_columns,
    gap_measure,
    items_at,
    mean_over_parts,
    sample_rows,
    smooth_measure,
    stack_tables,
    text_column,
    tie_rate,
)

METRICS = {
    "mean_recall@1": Definition(
        "Mean R@1 over all directions",
        "Mean over all ordered pairs of modalities of the fraction of items that find their partner first.",
        is_headline=True,
    ),
    "gap": Definition("Modality gap", "Euclidean distance between the mean vectors of two modalities."),
    "cone": Definition("Mean cosine within the modality", "Mean cosine of two different items of a modality."),
    "pair_cosine": Definition("Mean cosine of matched pairs", "Mean cosine of an item and its partner."),
    "cross_cosine": Definition(
        "Mean cosine of unmatched pairs", "Mean cosine of an item and the partner of another item."
    ),
    "separability": Definition(
        "Linear separability",
        "Fraction of held-out vectors whose modality, of two, a linear classifier names correctly: 50 % without a gap.",
    ),
    "recall@1": Definition("R@1", "Fraction of items of the first modality whose partner in the second comes first."),
    "tie_rate": Definition(
        "Ties for first place", "Fraction of items whose partner ties with another item.", "recall@1"
    ),
}

ALONE = "every query hits, whatever the model: the gallery has only 1 item"


class Pair(NamedTuple):
    """Two modalities, and which of their items belong together."""

    first: str
    second: str
    source: str
    """The modality whose items have one partner. Items of the other, the target, may have several."""
    target: str
    sources: Rows
    """Items of the source."""
    targets: Rows
    """Items of the target that have a partner."""
    owners: Rows
    """For each of ``sources``, the place of its partner among ``targets``."""

    @property
    def name(self) -> str:
        """The subset of metrics of the pair, such as ``audio-text``."""
        return f"{self.first}-{self.second}"

    @property
    def partners(self) -> Rows:
        """The first item of the source that belongs to each of ``targets``."""
        return self.sources[np.unique(self.owners, return_index=True)[1]]


class Query(NamedTuple):
    """Items of one modality that look for their partners in another."""

    source: str
    target: str
    rows: Rows
    """Rows of the items."""
    gallery: Rows
    """Rows of the items that are looked through."""
    answers: Answers
    n_positives: Rows

    @property
    def name(self) -> str:
        """The subset of metrics of the direction, such as ``audio-to-text``."""
        return f"{self.source}-to-{self.target}"


@dataclass(frozen=True)
class ModalitiesTask(Task):
    """Gap, cones, cosines, recall@1 and separability of every two modalities of the data."""

    name = "modalities"
    version = 1
    summary = "gap, cones, recall@1 and separability of every two of several modalities, such as audio and text"
    question = "Do the modalities share one space, and do items of each find their partners in each other one?"
    scoring = (
        "R@1 is the fraction of items whose partner comes first, and a tie scores as a random choice would. The gap is"
        " the distance between the mean vectors of two modalities. Separability is the accuracy of a linear classifier"
        " that separates the two."
    )
    needs_modalities = True

    separability_sample: int = 10_000
    """Pairs, a seeded sample of a larger set, that separability is measured on."""

    def __post_init__(self) -> None:
        if self.separability_sample < 2:
            raise UsageError(f"task modalities: separability_sample = {self.separability_sample}, expected 2 or more")

    def check(self, dataset: Dataset) -> None:
        """Raise unless there are modalities."""
        if dataset.modalities is None:
            raise MissingPart(
                dataset.id,
                "modalities",
                ". Use modality-gap if you have only images and texts, or give other modalities as arrays of their"
                " names, such as audio",
            )

    def evaluate(self, dataset: Dataset, embedder: Embedder, rng: np.random.Generator) -> Evaluation:
        """Return one row per item and one per query. Needs modalities, with the pairs of at least two of them."""
        data = dataset.modalities
        assert data is not None
        vectors = {name: embedder.scoring_vectors(embedder.encode(name, items)) for name, items in data.items.items()}
        sides = {}
        for name, unit_vectors in vectors.items():
            has_roles = name in embedder.info.roles
            one_side = Sides(unit_vectors, unit_vectors)
            sides[name] = embedder.encode_sides(name, data.items[name]) if has_roles else one_side
        seed = int(rng.integers(2**63))  # a pair has its own draws, whatever other modalities there are
        tables: list[Table] = []
        measures: Measures = {}
        baselines: Measures = {}
        for name, unit_vectors in vectors.items():
            table = _rows(name, name, np.arange(len(unit_vectors)), data)
            measures[f"{name}/cone"] = smooth_measure(f"{name}/cone", cone(unit_vectors), table, "cosine")
            tables.append(table)
        notes: list[str] = []
        unpaired_names = []
        for pair in _pairs(data):
            if not isinstance(pair, Pair):
                measures |= _undefined(*pair, reason=unpaired_message(data, *pair))
                unpaired_names.append(" and ".join(pair))
                continue
            if len(pair.targets) > self.separability_sample:
                notes.append(f"{pair.name}: separability on a seeded sample of {self.separability_sample:,} pairs")
            for query in _queries(pair, sides):
                table, measured, ties = _recall(query, data)
                if query.source == pair.target:
                    of_pair, geometry = self._geometry(pair, vectors, generator(seed, pair.name))
                    table |= of_pair
                    measures |= geometry
                tables.append(table)
                measures |= measured
                baselines |= ties
        samples = stack_tables(*tables)
        measures["mean_recall@1"] = undefined(ALONE, higher_is_better=True)
        if "recall@1" in samples:  # of galleries of more than one item
            columns, measures["mean_recall@1"] = mean_over_parts(
                "mean_recall@1", samples["recall@1"], samples["direction"], chance=samples["chance"]
            )
            samples |= columns
        kinds = list(METRICS)  # metrics of one kind are next to each other
        names = sorted(measures, key=lambda name: kinds.index(base_name(name)))
        if unpaired_names:
            notes.append(f"mean_recall@1 leaves out directions without pairs: {', '.join(unpaired_names)}")
        return Evaluation(
            samples=samples,
            inputs={"direction": "condition"} if "direction" in samples else {},
            measures=define({name: measures[name] for name in names}, METRICS),
            baselines=define(baselines, METRICS),
            vectors=_group_vectors(data, vectors),
            notes=(*_notes(data), *notes),
            subsets=_titles(data),
        )

    def _geometry(self, pair: Pair, vectors: Mapping[str, Vectors], rng: np.random.Generator) -> tuple[Table, Measures]:
        """Return the measures of a pair, with a row for each item of its target."""
        x, y = vectors[pair.target][pair.targets], vectors[pair.source][pair.partners]
        geometry, noise = pair_geometry(x, y), gap_noise(x, y)
        chosen = sample_rows(np.arange(len(x)), self.separability_sample, rng)
        is_separated = column_at_rows(separability(x[chosen], y[chosen], rng), chosen, len(x))
        name = pair.name
        table = {f"{name}/pair_cosine": geometry.pair_cosine, f"{name}/separability": is_separated}
        measures: Measures = {
            f"{name}/gap": gap_measure(geometry.modality_gap, noise, table, f"{name}/"),
            f"{name}/pair_cosine": Mean(column=f"{name}/pair_cosine", unit="cosine", higher_is_better=None),
            f"{name}/cross_cosine": smooth_measure(f"{name}/cross_cosine", geometry.cross_cosine, table, "cosine"),
            f"{name}/separability": Mean(column=f"{name}/separability", chance=0.5, higher_is_better=None),
        }
        return table, measures


def _undefined(first: str, second: str, *, reason: str) -> Measures:
    """Return the undefined measures of two modalities without pairs."""
    units = {"gap": "distance", "pair_cosine": "cosine", "cross_cosine": "cosine", "separability": "fraction"}
    measures: Measures = {f"{first}-{second}/{kind}": undefined(reason, unit) for kind, unit in units.items()}
    for way in (f"{first}-to-{second}", f"{second}-to-{first}"):
        measures[f"{way}/recall@1"] = undefined(reason, higher_is_better=True)
    return measures


def _pairs(data: Modalities) -> Iterator[Pair | tuple[str, str]]:
    """Yield every two modalities, in alphabetical order: a ``Pair``, or only their names if they have no pairs."""
    for first, second in combinations(data.names, 2):
        if (second, first) in data.pairs:
            source, target = second, first
        elif (first, second) in data.pairs:
            source, target = first, second
        else:
            yield first, second
            continue
        targets, owners = np.unique(data.pairs[source, target], return_inverse=True)
        yield Pair(first, second, source, target, np.arange(len(owners)), targets, owners)


def _rows(prefix: str, modality: str, rows: Rows, data: Modalities) -> Table:
    """Return the columns that identify the rows of a table, one row per item."""
    ids = items_at(data.ids[modality], rows)
    return {
        "sample_id": text_column(f"{prefix}:{id}" for id in ids),
        "direction": np.full(len(ids), prefix, object),
        "cluster": data.groups[modality][rows],
    }


def _queries(pair: Pair, sides: Mapping[str, Sides]) -> tuple[Query, Query]:
    """Return both directions of a pair: items of the target first."""
    x, y = sides[pair.target].take(pair.targets), sides[pair.source].take(pair.sources)
    by_target, by_source = search_both_ways(cross_answers, x, y, pair.owners)
    several, one = np.bincount(pair.owners), np.ones(len(pair.sources), np.int64)
    return (
        Query(pair.target, pair.source, pair.targets, pair.sources, by_target, several),
        Query(pair.source, pair.target, pair.sources, pair.targets, by_source, one),
    )


def _recall(query: Query, data: Modalities) -> tuple[Table, Measures, Measures]:
    """Return a table with one row per query, recall@1 of a direction, and its tie rate."""
    answers, n_gallery = query.answers, len(query.gallery)
    column = f"{query.name}/recall@1"
    table = {
        **_rows(query.name, query.source, query.rows, data),
        "query": _item_names(data, query.source, query.rows),
        "right": _item_names(data, query.target, query.gallery[answers.right]),
        "chosen": _item_names(data, query.target, query.gallery[answers.first]),
        **cosine_columns(answers, "margin"),
    }
    if n_gallery < 2:
        return table, {column: undefined(ALONE, higher_is_better=True)}, {}
    hit = recall_at_k(answers.ranks, 1)
    chance = chance_recall_at_k(query.n_positives, n_gallery, 1)
    table |= {column: hit, "recall@1": hit, "chance": np.full(len(hit), chance)}
    recall: Measures = {column: Mean(column=column, chance=chance)}
    ties: Measures = {f"{query.name}/tie_rate": tie_rate(answers.ranks.tied > 0)}
    return table, recall, ties


def _item_names(data: Modalities, modality: str, rows: Rows) -> np.ndarray:
    """Return the names of items in a table: the text itself, or the id of any other item."""
    items, ids = data.items[modality], data.ids[modality]
    names = []
    for row in rows.tolist():
        item = items[row]
        names.append(item if isinstance(item, str) else ids[row])
    return text_column(names)


def _group_vectors(data: Modalities, vectors: Mapping[str, Vectors]) -> Table:
    """Return one row per group: the first item of each modality, NaN if a group has none."""
    if data.is_aligned:
        return {**vectors, "group_id": np.array(data.ids[data.names[0]])}
    group_vectors: Table = {}
    ids = np.full(data.n_groups, "", object)
    for name, item_vectors in vectors.items():
        groups, first = np.unique(data.groups[name], return_index=True)
        group_vectors[name] = np.full((data.n_groups, item_vectors.shape[1]), np.nan, np.float32)
        group_vectors[name][groups] = item_vectors[first]
        of_group = text_column(data.ids[name])[first]
        ids[groups] = np.where(ids[groups] == "", of_group, ids[groups])
    n_modalities = np.sum([~np.isnan(rows[:, 0]) for rows in group_vectors.values()], axis=0)
    has_several = n_modalities > 1
    kept = {name: rows[has_several] for name, rows in group_vectors.items()}
    return {**kept, "group_id": ids[has_several].astype(str)}


def _notes(data: Modalities) -> list[str]:
    counts = ", ".join(f"{len(items):,} of {name}" for name, items in data.items.items())
    notes = [f"items: {counts}"]
    for (source, target), rows in data.pairs.items():
        n_left_out = len(data.items[target]) - len(np.unique(rows))
        if n_left_out:
            notes.append(
                f"{source} and {target}: {n_left_out:,} of {target} have no partner and are left out of the pair"
            )
    return notes


def _titles(data: Modalities) -> dict[str, str]:
    words = {name: name.replace("_", " ") for name in data.names}
    capital = {name: f"{phrase[:1].upper()}{phrase[1:]}" for name, phrase in words.items()}
    titles = dict(capital)
    for first, second in permutations(data.names, 2):
        if first < second:
            titles[f"{first}-{second}"] = f"{capital[first]} and {words[second]}"
        titles[f"{first}-to-{second}"] = f"{capital[first]} to {words[second]}"
    return titles
