"""The meaning of rows without names, and of file names: the fields of a row that is a list, a file's subset and group."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

UNNAMED = frozenset({"manifest", "metadata", "contrasts", "test", "validation", "val", "dev", "train", "data"}) | {
    "cola_multiobjects_matching_benchmark"
}
"""File names that do not name a subset."""
SUBSETS = {
    "visual_genome_relation": "vg_relation",
    "visual_genome_attribution": "vg_attribution",
    "controlled_images_dataset": "controlled_a",
    "controlled_clevr_dataset": "controlled_b",
}
_CREPE = re.compile(r"prod_vg_hard_negs_(?P<subset>[a-z]+)_complexity_(?P<group>\d+)")
_CREPE_SEEN = re.compile(r"syst_vg_hard_negs_(?P<split>seen|unseen)_compounds_in_(?P<trained_on>[a-z0-9]+)")
_CHECKLIST = re.compile(
    r"(?:.*/)?(?:(?P<kind>Attribute|Relation)/(?:(?P<own>vg|vaw)/|(?P<action>hake|swig)_)(?P<part>[a-z]+)"
    r"|Object/(?P<of>Location|Size)/(?P<objects>hake|swig|vg)_[a-z]+/(?:[a-z_]+/)?[a-z]+_[a-z]+_(?P<where>[a-z]+))\.json"
)
"""Paths of VL-CheckList's files, which say what differs and which collection has the images."""
_SPEC = ("image2text", "text2image")
NESTED = (
    *(f"*/{name}.json" for name in _SPEC),
    *(f"{kind}/prod_vg_hard_negs_*.csv" for kind in ("atom", "swap", "negate")),
    "*/syst_vg_hard_negs_*.csv",
    *(f"{kind}.json" for kind in ("Attribute/*/*", "Relation/*", "Relation/*/*", "Object/*/*/*", "Object/*/*/*/*")),
)
"""Files in folders below that of the data: those of SPEC, CREPE and VL-CheckList."""


class FileName(NamedTuple):
    """Subset and group that the name of a file gives all its rows."""

    subset: str
    group: str | None = None
    part: str = ""
    """Tells it from the other files of its subset; "" where there are none."""

    def id(self, subset: str, key: str) -> str:
        """Return the id of an item, given its own subset and key."""
        return "/".join(part for part in (subset, self.part, key) if part)


def read_name(file: Path) -> FileName:
    """Return what a file's name says.

    Example:
        >>> read_name(Path("atom/prod_vg_hard_negs_atom_complexity_4.csv"))
        FileName(subset='atom', group='4', part='4')
        >>> read_name(Path("count/image2text.json")), read_name(Path("swap_obj.json")).subset
        (FileName(subset='count', group=None, part='image2text'), 'swap_obj')
    """
    crepe = _CREPE.fullmatch(file.stem)
    if crepe is not None:
        return FileName(crepe["subset"], crepe["group"], crepe["group"])
    seen = _CREPE_SEEN.fullmatch(file.stem)
    if seen is not None:
        return FileName(f"{seen['trained_on']}_{seen['split']}")
    checklist = _CHECKLIST.fullmatch(file.as_posix())
    if checklist is not None:
        kind, part = checklist["kind"] or f"Object_{checklist['of']}", checklist["part"] or checklist["where"]
        source = f"{_collection(checklist)}/{file.stem}"
        return FileName(f"{kind}_{part}", source, source)
    if file.stem in _SPEC:
        return FileName(file.parent.name, part=file.stem)
    return FileName("" if file.stem.lower() in UNNAMED else SUBSETS.get(file.stem, file.stem))


def named(row: Sequence[object], file: Path) -> Mapping[str, object] | None:
    """Return a row that is a list with the names of its fields, or None where it is no contrast.

    Example:
        >>> named([139, "a cat on the left", "a cat on the right"], Path("coco_qa_one_obj.json"))
        {'image': '000000000139.jpg', 'true': 'a cat on the left', 'false': 'a cat on the right'}
        >>> named([1, 2], Path("numbers.json")) is None
        True
    """
    checklist = _CHECKLIST.fullmatch(file.as_posix())
    is_whats_up = file.stem.startswith(("coco_qa", "vg_qa"))
    match row:
        case [int() | str() as image, str(true), str(false), *_] if is_whats_up:
            name = str(image).zfill(12 if file.stem.startswith("coco") else 0)
            return {"image": f"{name}.jpg", "true": true, "false": false}
        case [str(first), str(caption), str(second), str(other)] if "/" in first and "/" in second:  # Cola
            names = (PurePosixPath(url).name for url in (first, second))
            return dict(zip(("image_0", "image_1", "caption_0", "caption_1"), (*names, caption, other), strict=True))
        case [str(image), {"POS": [str(true), *_], "NEG": [str(false), *_]}] if checklist is not None:
            folder = _collection(checklist).replace("vaw", "vg")  # whose images are Visual Genome's
            return {"image": f"{folder}/{image}", "true": true, "false": false}
    return None


def _collection(checklist: re.Match[str]) -> str:
    return checklist["own"] or checklist["action"] or checklist["objects"]
