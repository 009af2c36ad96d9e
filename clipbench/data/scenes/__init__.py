"""A generated world of captioned images: seeded, endless, offline, and true by construction.

Read in this order: vocabulary (names), records (content of an image), plan and layout (sampling of scenes), shapes and
drawing (their appearance), facts (true statements about them), phrases, captions and paragraphs (their wording),
sampling (splits and their scenes); then the data sets of the tasks, with their items: composition, typography,
long_captions, and dataset for the others.

Every scene follows from its index alone, on any platform and version of Python, so ``SCENES_VERSION`` names the data.
"""

from clipbench.data.scenes.dataset import TASKS, scenes_dataset
from clipbench.data.scenes.image import SceneImage
from clipbench.data.scenes.sampling import primer_pair, training_pair
from clipbench.data.scenes.typography import Label
from clipbench.data.scenes.world.drawing import draw
from clipbench.data.scenes.world.records import SCENES_VERSION

__all__ = ["SCENES_VERSION", "TASKS", "Label", "SceneImage", "draw", "primer_pair", "scenes_dataset", "training_pair"]
