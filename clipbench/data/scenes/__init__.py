"""A generated world of captioned images: seeded, endless, offline, and true by construction.

Read in this order: vocabulary (names), records (content of an image), plan and layout (sampling of scenes), shapes and
drawing (their appearance), facts (true statements about them), phrases, captions and paragraphs (their wording),
sampling (splits and their scenes); then the data sets of the tasks, with their items: composition, typography,
long_captions, and dataset for the others.

Every scene follows from its index alone, on any platform and version of Python, so ``SCENES_VERSION`` names the data.
"""

from clipbench.data.scenes.captions import STYLE_SHARES, TEMPLATES, all_captions, caption
from clipbench.data.scenes.chance import Chance
from clipbench.data.scenes.composition import SUBSETS, CompositionItem, composition_item
from clipbench.data.scenes.dataset import TASKS, portrait_labels, scenes_dataset
from clipbench.data.scenes.drawing import draw
from clipbench.data.scenes.facts import verdict
from clipbench.data.scenes.image import SceneImage
from clipbench.data.scenes.long_captions import LongCaptionItem, PositionItem, long_caption_item, position_items
from clipbench.data.scenes.records import SCENES_VERSION, Scene
from clipbench.data.scenes.sampling import (
    SPLITS,
    TrainingPair,
    looks,
    novelties,
    portrait,
    primer_pair,
    scene,
    training_pair,
)
from clipbench.data.scenes.typography import Label, ReadingItem, TypographicItem, reading_item, typographic_item

__all__ = [
    "SCENES_VERSION",
    "SPLITS",
    "STYLE_SHARES",
    "SUBSETS",
    "TASKS",
    "TEMPLATES",
    "Chance",
    "CompositionItem",
    "Label",
    "LongCaptionItem",
    "PositionItem",
    "ReadingItem",
    "Scene",
    "SceneImage",
    "TrainingPair",
    "TypographicItem",
    "all_captions",
    "caption",
    "composition_item",
    "draw",
    "long_caption_item",
    "looks",
    "novelties",
    "portrait",
    "portrait_labels",
    "position_items",
    "primer_pair",
    "reading_item",
    "scene",
    "scenes_dataset",
    "training_pair",
    "typographic_item",
    "verdict",
]
