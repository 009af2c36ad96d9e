"""The ReaL labels of ImageNet's validation images (Beyer et al., Are we done with ImageNet?, 2020), as published.

    real.json                                       [[0], [0, 758], [], ...]    classes of each image, in the order
                                                    of the numbers in ILSVRC2012_val_00000001.JPEG, ...
    imagenet_2012_validation_synset_labels.txt      the recorded class of each image, in the same order

The second file is needed for images that lost their names: CLIP_benchmark's shards number them by class, and within a
class by their old numbers, so that the k-th image of a class there is the k-th of this class here.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from clipbench.data.dataset import Dataset
from clipbench.data.given_labels import with_labels
from clipbench.errors import DataError
from clipbench.untrusted.label_files import VALIDATION_IMAGE, read_label_file
from clipbench.untrusted.reading import is_file, read_text

LABELS_FILE = "real.json"
SYNSETS_FILE = "imagenet_2012_validation_synset_labels.txt"
SHARD_KEY = re.compile(r"s\d{7}")
"""The name of an image in CLIP_benchmark's shards."""


def has_real_labels(folder: Path) -> bool:
    """Return whether a folder has the labels."""
    return is_file(folder / LABELS_FILE)


def with_real_labels(imagenet: Dataset, folder: Path) -> Dataset:
    """Return ImageNet's validation images, or some of them, with these labels instead of their own.

    Raises:
        DataError: a file is malformed, or the images are not those, or not in an order that is known.
    """
    labels = read_label_file(folder / LABELS_FILE)
    if not labels.is_by_position:
        raise DataError(f"{labels.file}: expected a list with a list of class numbers per image")
    ids = imagenet.image_ids
    if not any(map(VALIDATION_IMAGE.search, ids)):
        ids = _image_numbers(imagenet, folder / SYNSETS_FILE)
    return with_labels(imagenet, labels, ids)


def _image_numbers(imagenet: Dataset, file: Path) -> Sequence[str]:
    """Return the number of each image of CLIP_benchmark's shards, from 1 on."""
    imagenet.require("labels")
    assert imagenet.labels is not None
    foreign = [image_id for image_id in imagenet.image_ids if not SHARD_KEY.fullmatch(image_id)]
    if foreign or not imagenet.has_ids:
        raise DataError(
            "the ReaL labels refer to images by their number in ImageNet-val: got the id"
            f" '{(foreign or imagenet.image_ids)[0]}', expected ids such as 'ILSVRC2012_val_00000001.JPEG', or the keys"
            " of CLIP_benchmark's shards"
        )
    synsets = read_text(file, DataError).split()
    row_of_synset = {synset: row for row, synset in enumerate(sorted(set(synsets)))}
    numbers_of_class: dict[int, list[str]] = defaultdict(list)
    for number, synset in enumerate(synsets, start=1):
        numbers_of_class[row_of_synset[synset]].append(str(number))
    numbers = [""] * len(imagenet)
    for row in sorted(range(len(imagenet)), key=imagenet.image_ids.__getitem__):
        label = int(imagenet.labels[row])
        if not numbers_of_class[label]:
            raise DataError(
                f"{file} has fewer images of class {label} than {imagenet.id}: expected the same images. Fetch both"
            )
        numbers[row] = numbers_of_class[label].pop(0)
    return numbers
