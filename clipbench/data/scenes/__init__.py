"""A generated world of captioned images: seeded, endless, offline, and true by construction.

Read in this order: world (names, and the content of an image), layout (sampling of scenes), drawing (their appearance),
and facts (true statements about them); then captions (their wording), sampling (splits and their scenes); then the data
sets of the tasks: scene_questions (twins, and words in images), and scene_datasets for the others.

Every scene depends only on its index, on any platform and version of Python, so ``SCENES_VERSION`` names the data.
"""

from clipbench.data.scenes.drawing import SceneImage, draw
from clipbench.data.scenes.sampling import primer_pair, training_pair
from clipbench.data.scenes.scene_datasets import scenes_dataset
from clipbench.data.scenes.world import SCENES_VERSION

__all__ = ["SCENES_VERSION", "SceneImage", "draw", "primer_pair", "scenes_dataset", "training_pair"]
