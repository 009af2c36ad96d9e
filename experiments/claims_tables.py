"""The tables of docs/claims.md on swapped captions, written words, long captions and texts, and on public vectors of CLIP."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from claims_figures import Row
from claims_outcomes import FEW_TOKENS, SWAPS, Measured, over_names, over_seeds, value_of
from claims_texts import EMBEDDERS, Found, read_clip_names
from claims_verdicts import OBJECT_CHANCE, PROBE_CHANCE, READING_CHANCE, TWIN_CHANCE, TextDuel, number, percent, points
from clipbench.metrics.geometry import cone, modality_gap
from clipbench.metrics.similarity import unit

NAMES_FOLDER, GAPS_FOLDER = "vitb32_class_text", "modality_gap"
"""Folders of public CLIP vectors."""
GAPS = {"random weights": "features_clip_random.npy", "trained": "features_clip.npy"}
"""Files of vectors of images and texts."""

SHOWN = {
    "text": ("Swapped captions, text score", TWIN_CHANCE),
    "image": ("Swapped captions, image score", TWIN_CHANCE),
    "group": ("Swapped captions, group score", 1 / 6),
    SWAPS[0]: ("Colours swapped, text score", TWIN_CHANCE),
    SWAPS[1]: ("Objects swapped, text score", TWIN_CHANCE),
    "relation": ("Opposite relation, text score", TWIN_CHANCE),
    "count": ("One more or one fewer, text score", TWIN_CHANCE),
    "reading": ("Written word read, of ten", READING_CHANCE),
    "clean_acc": ("Object named, no label", OBJECT_CHANCE),
    "blank_acc": ("Object named, blank label", OBJECT_CHANCE),
    "attacked_acc": ("Object named, another's name on it", OBJECT_CHANCE),
    "attack_success": ("Written name named", None),
    "few": (f"Long captions, recall@1 of {FEW_TOKENS} tokens", 1 / 500),
    "whole": ("Long captions, recall@1 of all that fit", 1 / 500),
    "early": ("Fact told, at the start", PROBE_CHANCE),
    "middle": ("Fact told, after 25 words", PROBE_CHANCE),
    "late": ("Fact told, after 45 words", PROBE_CHANCE),
}  # fmt: skip
"""Title and chance of each measure of a weakness, in the order of the table."""
COSINES = {"twin_cosine": "cosine of a caption and its swapped twin", "other_cosine": "of two unrelated captions"}
_TEXT_HEAD = ("Text encoder", "Parameters", "Right text nearest")


def rows_of_weaknesses(found: Measured) -> list[Row]:
    """Return a row for each measure of a weakness that is a share."""
    return [
        Row(title, value_of(found.weaknesses, name), value_of([found.tiny], name), by_chance)
        for name, (title, by_chance) in SHOWN.items()
    ]


def weaknesses(found: Measured, seeds: Sequence[int]) -> str:
    """Return the table of all measures, and a line on the cosines of captions."""
    head = ("", "Runs, mean of seeds", *(f"seed {seed}" for seed in seeds), "`tiny`", "Chance")
    rows = [
        (
            row.title,
            percent(row.seeds),
            *(f"{100 * seed:.1f}" for seed in row.seeds.by_seed),
            percent(row.tiny),
            "" if row.chance is None else f"{100 * row.chance:.1f} %",
        )
        for row in rows_of_weaknesses(found)
    ]
    cosines = "; ".join(
        f"{title} {number(value_of(found.weaknesses, name))}, of `tiny` {number(value_of([found.tiny], name))}"
        for name, title in COSINES.items()
    )
    return f"{table(head, rows)}\n\nIn the text tower alone: {cosines}."


def text_duels(clip: Sequence[Found], embedders: Mapping[str, Found]) -> list[TextDuel]:
    """Return each embedder beside a text tower, or one for each seed."""
    return [TextDuel(name, clip, embedder) for name, embedder in embedders.items()]


def name_duels(found: Measured) -> list[TextDuel]:
    """Return each embedder beside the public vectors of names."""
    assert found.clip_vectors is not None
    return text_duels([read_clip_names(found.clip_vectors / NAMES_FOLDER)], found.names)


def texts(found: Measured) -> str:
    """Return the table of who finds the other caption, differences, and which embedders are missing."""
    rows = [_text_row("Runs, mean of seeds", found.texts), _text_row("`tiny`", [found.tiny_texts])]
    rows += [_text_row(name, [embedder]) for name, embedder in found.embedders.items()]
    compared = [
        f"- {who} minus {duel.name}, which is {duel.times_as_large:.1f} times as large: {points(duel.difference)}."
        for who, clip in (("Runs", found.texts), ("`tiny`", [found.tiny_texts]))
        for duel in text_duels(clip, found.embedders)
    ]
    return "\n".join((table(_TEXT_HEAD, rows), "", *compared, *_missing_embedders(found.embedders)))


def names(found: Measured) -> str:
    """Return the same of class names with public vectors of CLIP, or how to get them."""
    if found.clip_vectors is None or not found.names:
        return (
            "Not measured here: names of COCO's classes with a CLIP that was trained on the web. It needs the vectors of its text tower that"
            " Detic (Zhou et al., 2022) made public, in a folder of the name"
            f" `{NAMES_FOLDER}` with `coco80.npy` and `coco80.json`: `make claims CLAIMS='--clip-vectors FOLDER'`, with a text embedder installed."
        )
    duels = name_duels(found)
    named = {"CLIP ViT-B/32 (OpenAI)": duels[0].clip[0], **found.names}
    rows = [(name, _millions(each), percent(over_names(each.hits))) for name, each in named.items()]
    compared = [
        f"- CLIP minus {duel.name}, which is {duel.times_as_large:.2f} times as large: {points(duel.difference_of_names)}."
        for duel in duels
    ]
    said = (
        'A CLIP that was trained on the web: the text vectors of "a NAME" for the 80 classes of COCO, which Detic (Zhou et al., 2022) made'
        f" public, of OpenAI's ViT-B/32. Is the nearest other name in the same one of COCO's 12 supercategories?"
        f" {len(duels[0].embedder.hits)} names have another in theirs. Differences are paired by name; intervals are over supercategories, as names within one are not independent."
    )
    return "\n".join((said, "", table(_TEXT_HEAD, rows), "", *compared))


def real_gaps(clip_vectors: Path | None) -> str:
    """Return the gaps of public vectors of CLIP, and where more are."""
    elsewhere = "More gaps of CLIPs trained on the web are in [modality-gap-values.md](modality-gap-values.md)"
    files = {} if clip_vectors is None else {title: clip_vectors / GAPS_FOLDER / name for title, name in GAPS.items()}
    rows = [(title, *_gap_of(np.load(path))) for title, path in files.items() if path.is_file()]
    if not rows:
        return f"{elsewhere}."
    said = (
        "A CLIP before and after training on the web, by vectors of 500 pairs of COCO that Liang et al. made public (OpenAI's ViT-B/16, by"
        f" their notebook). {elsewhere}, with intervals."
    )
    return f"{said}\n\n{table(('CLIP', 'Gap', 'Image cone', 'Text cone'), rows)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    return "\n".join(line(cells) for cells in (head, ["---"] * len(head), *rows))


def line(cells: Sequence[str]) -> str:
    """Return a line of a table of Markdown."""
    return f"| {' | '.join(cells)} |"


def _text_row(name: str, found: Sequence[Found]) -> tuple[str, str, str]:
    return name, _millions(found[0]), percent(over_seeds(np.stack([each.hits for each in found])))


def _millions(found: Found) -> str:
    return f"{found.parameters / 1e6:.1f} M"


def _missing_embedders(found: Mapping[str, Found]) -> list[str]:
    missing = [package for name, (package, _) in EMBEDDERS.items() if name not in found]
    how = f"`pip install {' '.join(missing)}`, and `make claims` once more, which trains nothing again"
    return [f"- Not measured, for want of their packages: {', '.join(missing)} ({how})."] if missing else []


def _gap_of(vectors: np.ndarray) -> tuple[str, str, str]:
    """Return gap and cones of images and texts, an array of each."""
    images, texts = (unit(side.astype(np.float32)) for side in vectors)
    return f"{modality_gap(images, texts):.4f}", f"{cone(images).value:.4f}", f"{cone(texts).value:.4f}"
