"""CLIP_benchmark's layout of tar shards, as it exports data sets and publishes them on the Hub.

    classnames.txt                          one name a line; may be absent
    zeroshot_classification_templates.txt   one template a line, {c} for the class name; may be absent
    dataset_type.txt                        "retrieval" or "multilabel"; absent for classification
    SPLIT/nshards.txt                       number of shards of the split
    SPLIT/0.tar, SPLIT/1.tar, ...           KEY.jpg (or webp, png, jpeg) with KEY.cls, KEY.npy or KEY.txt

A label may have an .npy next to it that says where its image is from, as in DataComp's data: the option ``group`` names
its numbers, such as ``region:0,year:1``, and metrics are given for each group. The option ``label`` names labels in the
same way: classes and template of ``gender:1`` are the lines that begin with ``gender:``, as in DataComp's FairFace.

Nothing is unpacked: images are read from their shards by offset when they are needed.
"""

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipbench.data.dataset import DataOptions, Dataset
from clipbench.data.images import EncodedImage
from clipbench.data.labels import Groups, LabelSet, label_fields
from clipbench.data.prompts import CLASS_NAMES_FILE, PLACEHOLDER, read_class_names, read_templates
from clipbench.errors import BadImage, DataError, UnknownSplit, UsageError, data_option
from clipbench.untrusted.label_files import read_classes
from clipbench.untrusted.limits import ARCHIVE_ERRORS
from clipbench.untrusted.reading import decode_array, is_file, is_int64, matching, open_file, read_bytes, read_text

OPTIONS = ("split", "class_names", "group", "label", "labels")
TYPE_FILE = "dataset_type.txt"
TEMPLATES_FILE = "zeroshot_classification_templates.txt"
SHARDS_FILE = "nshards.txt"
DEFAULT_SPLIT = "test"
IMAGES = ("webp", "png", "jpg", "jpeg")
"""Extensions of images, best first: of several in one sample CLIP_benchmark reads the first, and so do we."""

CONTENTS = ("cls", "npy", "txt")
"""Extensions of the members that are read. For all others, only the name is kept."""
MOST_SHARDS = 1_000_000
KINDS = ("classification", "multilabel", "retrieval")
"""Words that ``dataset_type.txt`` may hold."""


@dataclass(frozen=True)
class TarImage(EncodedImage):
    """An image inside an uncompressed tar file, read in place."""

    shard: Path
    member: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.shard}:{self.member}"

    def read(self) -> bytes:
        try:
            with open_file(self.shard) as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise BadImage(self.name, error.strerror or str(error)) from error


@dataclass
class _Sample:
    """The members that share a key, by extension: images by offset, other members that are read by content, and the
    rest by name.
    """

    key: str
    shard: Path
    members: dict[str, TarImage | bytes | None] = field(default_factory=dict)

    @property
    def location(self) -> str:
        return f"{self.shard}, sample '{self.key}'"

    def image(self) -> TarImage:
        for extension in IMAGES:
            if isinstance(image := self.members.get(extension), TarImage):
                return image
        raise DataError(f"{self.location} has no image: expected one of {', '.join(IMAGES)}")

    def content(self, extension: str) -> bytes:
        content = self.members.get(extension)
        if not isinstance(content, bytes):
            raise DataError(f"{self.location} has no .{extension} (it has {', '.join(self.members)})")
        return content


def is_layout(root: Path) -> bool:
    """Return whether a folder has this layout, or is one split of it. A missing part is then an error."""
    files = (TYPE_FILE, TEMPLATES_FILE, SHARDS_FILE)
    patterns = (f"*/{SHARDS_FILE}", "*/*.tar")
    return any(is_file(root / name) for name in files) or any(matching(root, pattern) for pattern in patterns)


def load(root: Path, options: DataOptions, id: str, *, shards: Sequence[Path] | None = None) -> Dataset:
    """Return one split, ``test`` unless another is named, or only the given shards of it.

    Captions are the lines of a ``.txt`` member, by ``str.splitlines``. CLIP_benchmark writes a newline inside a caption
    as backslash and n and does not convert it back. Neither does this reader, so that numbers agree.
    """
    options.refuse_unknown(OPTIONS, id)
    root, split = _choose_split(root, options.options.get("split"))
    shards = _shards(root / split) if shards is None else shards
    samples = [sample for shard in shards for sample in samples_in(shard)]
    label_sets, classes = _label_sets(root, samples, options.options.get("label"))
    parts: dict[str, Any] = {"label_sets": label_sets, "templates": (PLACEHOLDER,)}
    if label_sets is None:
        kind = read_text(root / TYPE_FILE, DataError).strip().lower() if is_file(root / TYPE_FILE) else KINDS[0]
        if kind not in KINDS:
            raise DataError(f"{root / TYPE_FILE} says '{kind}', expected one of {', '.join(KINDS)}")
        parts = _captions(samples) if kind == "retrieval" else _labels(samples, has_several=kind == "multilabel")
        if is_file(root / TEMPLATES_FILE):
            parts["templates"] = read_templates(root / TEMPLATES_FILE)
        if kind != "retrieval" and is_file(root / CLASS_NAMES_FILE):
            parts["class_names"] = read_class_names(root / CLASS_NAMES_FILE)
    return Dataset(
        id=id,
        split=split,
        images=[sample.image() for sample in samples],
        image_ids=[sample.key for sample in samples],
        groups=_groups(samples, options.options.get("group"), classes),
        **parts,
    )


def _choose_split(root: Path, split: str | None) -> tuple[Path, str]:
    if is_file(root / SHARDS_FILE):  # the folder of one split was named
        if split not in (None, root.name):
            raise UsageError(f"{root} is the split '{root.name}': remove {data_option(split=split)}")
        return root.parent, root.name
    shards = [*matching(root, f"*/{SHARDS_FILE}"), *matching(root, "*/*.tar")]
    splits = sorted({path.parent.name for path in shards})
    split = split or DEFAULT_SPLIT
    if split not in splits:
        raise UnknownSplit(root, split, splits)
    return root, split


def _shards(folder: Path) -> list[Path]:
    file = folder / SHARDS_FILE
    try:
        content = read_bytes(file)
    except OSError as error:
        raise DataError(f"{file} is missing ({error.strerror or error}): expected the number of shards") from error
    text = content.decode("ascii", "replace").strip()
    if not text.isdecimal() or not is_int64(text) or int(text) > MOST_SHARDS:
        raise DataError(f"{file} holds {content[:40]!r}, expected the number of shards, at most {MOST_SHARDS:,}")
    n_shards = int(text)
    shards = [folder / f"{number}.tar" for number in range(n_shards)]
    missing = [shard.name for shard in shards if not is_file(shard)]
    if missing:
        raise DataError(f"{folder} lacks {len(missing)} of {n_shards} shards, the first {missing[0]}: fetch them again")
    return shards


def samples_in(shard: Path) -> Iterator[_Sample]:
    """Yield the samples of a shard, which has the members of a sample together. Raise DataError if it is damaged."""
    sample: _Sample | None = None
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                # Split at the first dot after the last slash, as the webdataset library does.
                folder, slash, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                key, extension = folder + slash + stem, extension.lower()
                if not member.isfile() or not extension:
                    continue
                if member.issparse():
                    raise tarfile.ReadError(f"member '{member.name}' is sparse, expected plain files")
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key, shard)
                sample.members[extension] = _read(member, extension, tar, sample)
            _refuse_cut(tar, shard)
    except (*ARCHIVE_ERRORS, OSError) as error:
        raise DataError(f"{shard} is damaged or cut short ({error}): download it again") from error
    if sample is not None:
        yield sample


def _read(member: tarfile.TarInfo, extension: str, tar: tarfile.TarFile, sample: _Sample) -> TarImage | bytes | None:
    if extension in IMAGES:
        return TarImage(sample.shard, member.name, member.offset_data, member.size)
    if extension not in CONTENTS:
        return None
    file = tar.extractfile(member)
    assert file is not None, member
    return file.read()


def _refuse_cut(tar: tarfile.TarFile, shard: Path) -> None:
    """Raise ReadError unless the shard ends with a block of zeros: tarfile accepts one that was cut between members."""
    with open_file(shard) as file:
        file.seek(tar.offset)
        end = file.read(tarfile.BLOCKSIZE)
    if end != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end-of-archive mark")


def _captions(samples: Sequence[_Sample]) -> dict[str, Any]:
    lines = []
    for sample in samples:
        try:
            lines.append(sample.content("txt").decode().splitlines())
        except UnicodeDecodeError as error:
            raise DataError(f"{sample.location}: .txt is not UTF-8 text") from error
    return {
        "captions": [line for captions in lines for line in captions],
        "caption_image": np.repeat(np.arange(len(lines)), [len(captions) for captions in lines]),
    }


def _labels(samples: Sequence[_Sample], *, has_several: bool) -> dict[str, Any]:
    if not has_several:
        return {**label_fields([_label_numbers(sample) for sample in samples])}
    vectors = []
    for sample in samples:
        vector = _array(sample)
        if vector.ndim != 1 or vector.dtype.kind not in "biuf" or not np.isin(vector, (0, 1)).all():
            raise DataError(
                f"{sample.location}: .npy holds an array of {vector.dtype} with shape {vector.shape}, expected a vector"
                " with one 0 or 1 per class"
            )
        vectors.append(vector)
        if len(vector) != len(vectors[0]):
            raise DataError(
                f"{sample.location}: .npy has {len(vector)} classes, expected {len(vectors[0])} as in the first sample"
            )
    return {"multilabels": np.array(vectors, bool).reshape(len(vectors), len(vectors[0]) if vectors else 0)}


def _label_numbers(sample: _Sample) -> list[int]:
    """Return the number of the sample's class, or of several with ``;`` between them or in a JSON list."""
    content = sample.content("cls")
    text = content.decode("ascii", "replace").strip()
    if is_int64(text):
        return [int(text)]
    numbers = read_classes(text)
    if not text or numbers is None or not all(number.isdecimal() and is_int64(number) for number in numbers):
        raise DataError(f"{sample.location}: .cls holds {content[:40]!r}, expected an integer")
    return [int(number) for number in numbers]


def _array(sample: _Sample) -> np.ndarray:
    try:
        return np.asarray(decode_array(sample.content("npy")))
    except ValueError as error:
        raise DataError(f"{sample.location}: .npy cannot be read: {error}") from error


def _groups(
    samples: Sequence[_Sample], option_text: str | None, classes: Mapping[str, Sequence[str]]
) -> Mapping[str, Groups]:
    """Return the groups that ``NAME:PLACE`` names, by their numbers, or by the classes of that name."""
    columns = _columns(samples, "group", option_text)
    groups = {}
    for group, values in columns.items():
        class_names = {str(number): name for number, name in enumerate(classes.get(group, ()))}
        groups[group] = Groups([class_names.get(value, value) for value in values])
    return groups


def _label_sets(
    root: Path, samples: Sequence[_Sample], option_text: str | None
) -> tuple[Mapping[str, LabelSet] | None, Mapping[str, Sequence[str]]]:
    """Return the labels that ``NAME:PLACE`` names, with whole prompts as class names, and the plain class names."""
    if option_text is None:
        return None, {}
    lines, templates = read_class_names(root / CLASS_NAMES_FILE), read_templates(root / TEMPLATES_FILE)
    sets, classes = {}, {}
    for name, values in _columns(samples, "label", option_text).items():
        classes[name] = [line.removeprefix(f"{name}:") for line in lines if line.startswith(f"{name}:")]
        set_templates = [text.removeprefix(f"{name}:") for text in templates if text.startswith(f"{name}:")]
        if not classes[name] or len(set_templates) != 1 or not all(map(is_int64, values)):
            raise DataError(
                f"{root} has {len(classes[name])} classes and {len(set_templates)} templates that begin with"
                f" '{name}:': expected classes, one template, and integers as labels"
            )
        prompts = tuple(set_templates[0].replace(PLACEHOLDER, class_name) for class_name in classes[name])
        sets[name] = LabelSet(np.array([*map(int, values)], np.int64), prompts)
    return sets, classes


def _columns(samples: Sequence[_Sample], name: str, option_text: str | None) -> dict[str, list[str]]:
    """Return the numbers of every sample's .npy at the places that ``NAME:PLACE`` names."""
    positions = {}
    for part in option_text.split(",") if option_text else ():
        column, _, digits = part.strip().rpartition(":")
        if not column or not digits.isdecimal():
            raise UsageError(
                f"{data_option(**{name: option_text})}: expected NAME:INDEX, such as region:0 for index 0 of each .npy"
            )
        positions[column] = int(digits)
    column_values: dict[str, list[str]] = {column: [] for column in positions}
    for sample in samples if positions else ():
        numbers = _array(sample)
        if numbers.ndim != 1 or max(positions.values()) >= len(numbers):
            expected = f"expected a number at index {max(positions.values())}"
            raise DataError(f"{sample.location}: .npy has shape {numbers.shape}, {expected}")
        for column, position in positions.items():
            value = numbers[position].item()
            column_values[column].append(str(int(value) if isinstance(value, float) and value.is_integer() else value))
    return column_values
