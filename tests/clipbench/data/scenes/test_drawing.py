"""Images: the same world at every size, legible, and guarded by a hash."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clipbench.data.scenes.captions import STYLE_SHARES, caption
from clipbench.data.scenes.drawing import coverage, draw, ink, word_width
from clipbench.data.scenes.sampling import SPLITS, portrait, scene, training_pair
from clipbench.data.scenes.world import (
    CASES,
    COLOURS,
    FONTS,
    KINDS,
    SCENES_VERSION,
    WORDS,
    Background,
    Scene,
    Solid,
    Writing,
)
from clipbench.seeding import Sampler

GREY = Background("grey", "plain", 0.1)


def hashed(parts: list[bytes]) -> str:
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()


# Scenes, captions and images of a version never change. When one of these fails, either undo the change or raise
# SCENES_VERSION and write the new values down: results of the two versions cannot be compared.


def test_the_scenes_of_this_version_are_the_published_ones() -> None:
    sampled_scenes = [scene(split, index) for split in SPLITS for index in range(60)]
    sampled_scenes += [portrait(split, index) for split in SPLITS for index in range(30)]
    assert (SCENES_VERSION, hashed([repr(sampled_scene).encode() for sampled_scene in sampled_scenes])) == (
        1,
        "a402fbc73d4032ff",
    )


def test_the_captions_of_this_version_are_the_published_ones() -> None:
    texts = [
        caption(scene("train", index), style, Sampler("caption", style, 0)).text.encode()
        for index in range(60)
        for style in STYLE_SHARES
    ]
    texts += [training_pair(index).caption.text.encode() for index in range(60)]
    assert (SCENES_VERSION, hashed(texts)) == (1, "d0f26c574254cb78")


def test_the_images_of_this_version_are_the_published_ones_where_no_font_is_used() -> None:
    sampled_scenes = [scene("train", index) for index in range(80)]
    images = [
        draw(sampled_scene, size).tobytes()
        for sampled_scene in sampled_scenes
        if sampled_scene.writing is None
        for size in (64, 96)
    ]
    assert (SCENES_VERSION, hashed(images)) == (1, "8f0220c84695aaa0")


def test_the_ink_of_words_is_the_published_one_within_what_font_renderers_differ() -> None:
    shares = [float(ink(word(font), 128).mask.sum()) / 128**2 for font in FONTS]
    assert shares == pytest.approx(INK, rel=0.05)


INK = [0.0231, 0.0397, 0.0207, 0.0329, 0.0333, 0.0398, 0.0277, 0.0228]


def word(font: str = "sans", text: str = "horse", height: float = 0.15, case: str = "lower") -> Writing:
    return Writing(text, 0.5, 0.5, height, font, case, "black")


@pytest.mark.parametrize("size", [64, 100, 224])
def test_a_scene_looks_the_same_at_every_size(size: int) -> None:
    for index in range(25):
        sampled_scene = scene("train", index)
        small = np.asarray(draw(sampled_scene, size), np.float32)
        reduced = np.asarray(draw(sampled_scene, 8 * 64).resize((size, size), Image.Resampling.BOX), np.float32)
        bound = (
            1.5 if sampled_scene.writing is None else 14
        )  # letters are fitted to whole pixels, so that they can be read
        assert np.abs(small - reduced).mean() < bound, index


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_fills_its_box_and_no_more(kind: str) -> None:
    solid = Solid(kind, "red", "plain", 0.5, 0.5, 0.3)
    mask = coverage(solid, 256) > 0.5
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    result = (columns[0] / 256, rows[0] / 256, (columns[-1] + 1) / 256, (rows[-1] + 1) / 256)
    assert result == pytest.approx(tuple(solid.box), abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_told_apart_by_their_outline_even_when_small(kind: str) -> None:
    def outline(name: str) -> np.ndarray:
        return coverage(Solid(name, "red", "plain", 0.5, 0.5, 0.1), 64)

    lines = outline(kind)
    shared = [
        np.minimum(lines, outline(other)).sum() / np.maximum(lines, outline(other)).sum()
        for other in KINDS
        if other != kind
    ]
    assert max(shared) < 0.9  # intersection over union with the most similar kind


@pytest.mark.parametrize("colour", COLOURS)
def test_the_mean_colour_of_an_object_is_nearest_to_its_own_name(colour: str) -> None:
    for kind in KINDS:
        solid = Solid(kind, colour, "plain", 0.5, 0.5, 0.3)
        image = np.asarray(draw(Scene(GREY, (solid,)), 64), np.float32)
        mean = image[coverage(solid, 64) > 0.9].mean(axis=0)
        distances = {name: float(np.square(mean - np.array(rgb)).sum()) for name, rgb in COLOURS.items()}
        assert min(distances, key=distances.__getitem__) == colour, kind


@pytest.mark.parametrize("texture", ["striped", "spotted", "checkered"])
def test_textures_can_be_seen(texture: str) -> None:
    for kind in ("sphere", "cube", "cylinder", "cone", "star", "heart", "cross", "moon"):
        solid = Solid(kind, "blue", texture, 0.5, 0.5, 0.2)
        marked = np.asarray(draw(Scene(GREY, (solid,)), 64), np.float32)
        plain = np.asarray(draw(Scene(GREY, (replace(solid, texture="plain"),)), 64), np.float32)
        changed = np.abs(marked - plain).mean(axis=2)[coverage(solid, 64) > 0.9] > 25
        assert 0.12 < changed.mean() < 0.75, kind


@pytest.mark.parametrize("font", FONTS)
def test_capitals_have_the_height_asked_for_and_words_stay_in_the_image(font: str) -> None:
    mask = ink(word(font, "hth", case="upper"), 256).mask
    rows = np.flatnonzero((mask > 0.5).any(axis=1))
    assert rows[-1] - rows[0] + 1 == pytest.approx(0.15 * 256, abs=2)
    longest = max(WORDS, key=len)
    for case in CASES:
        wide = ink(word(font, longest, 0.2, case), 64)
        assert wide.mask.shape[1] <= 60 and wide.left >= 2


def test_a_blank_sign_is_as_large_as_the_written_one_and_empty() -> None:
    written = Scene(GREY, writing=replace(word(), paper="white"))
    letters, blank = (np.asarray(draw(scene, 128), np.float32) for scene in (written, written.with_blank_sign()))
    paper = np.abs(blank - np.array([138, 142, 148])).sum(axis=2) > 30
    assert paper.any(axis=0).sum() / 128 == pytest.approx(word_width(word()) + 0.7 * 0.15, abs=0.02)
    changed = np.abs(letters - blank).sum(axis=2) > 30
    assert changed.any() and not (changed & ~paper).any()
    inside = np.abs(blank - 251).max(axis=2) < 5  # all but its anti-aliased edge
    assert inside.sum() > 0.9 * paper.sum()


def test_ink_fades_into_the_paper_with_the_contrast() -> None:
    def darkest(contrast: float) -> int:
        scene = Scene(GREY, writing=replace(word(), paper="white", contrast=contrast))
        return int(np.asarray(draw(scene, 128))[54:74, 30:98].min())

    assert darkest(1.0) < 30 < darkest(0.5) < 140 < darkest(0.1) < darkest(0.0)
    assert darkest(0.0) > 245
