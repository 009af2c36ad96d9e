"""Words in scenes: labels, attacks and words to read, and the set that they make within its budget."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from clipbench.data.scenes import SceneImage, scenes_dataset
from clipbench.data.scenes.facts import word_relation_holds
from clipbench.data.scenes.sampling import SPLITS
from clipbench.data.scenes.scene_questions import Overlay, overlay_conditions, reading_item, typographic_item
from clipbench.data.scenes.world import KINDS, Background, Scene, Solid, held_out

indices = st.integers(0, 10**6)


def test_the_four_images_of_an_attack_differ_in_the_label_alone() -> None:
    for index in range(40):
        word, scenes = typographic_item(index)
        assert len({(scene.background, scene.solids) for scene in scenes.values()}) == 1
        assert scenes["clean"].writing is None
        words = {key: scene.writing for key, scene in scenes.items() if scene.writing is not None}
        assert words["benign"].word == scenes["clean"].solids[0].kind
        assert words["attacked"].word == word != words["benign"].word
        assert words["blank"].is_blank and not words["attacked"].is_blank


def test_the_label_lies_on_the_object_and_moves_with_the_offset() -> None:
    sphere = Solid("sphere", "red", "plain", 0.5, 0.5, 0.3)

    def place(offset: float) -> list[str]:
        scene = Scene(Background("grey", "plain", 0.1), (sphere,), writing=Overlay(offset=offset).writing("cube"))
        assert scene.writing is not None
        return [name for name in ("above", "on", "below") if word_relation_holds(scene.writing, name, scene.solids[0])]

    assert (place(-0.4), place(0.0), place(0.4)) == (["above"], ["on"], ["below"])


@settings(derandomize=True, max_examples=60, deadline=None)
@given(index=indices, split=st.sampled_from(SPLITS))
def test_the_written_word_is_the_answer_and_no_candidate_names_what_is_seen(index: int, split: str) -> None:
    shown, candidates, answer = reading_item(index, split=split)
    assert shown.writing is not None
    assert candidates[answer] == shown.writing.word
    assert len(set(candidates)) == 10
    assert {word in held_out().words for word in candidates} == {split == "held-out"}
    assert {solid.kind for solid in shown.solids}.isdisjoint({shown.writing.word})


def test_answers_stand_everywhere_among_the_candidates() -> None:
    counts = Counter(reading_item(index)[2] for index in range(400))
    assert sorted(counts) == list(range(10))
    assert min(counts.values()) > 40 - 4 * 6  # four standard errors


def test_the_set_has_words_to_read_and_objects_to_attack_within_its_budget() -> None:
    data = scenes_dataset("attacks")
    assert data.contrasts is not None and data.attacks is not None
    assert len(data.contrasts) == 300 and len(data.attacks) == 300 + 75 * len(overlay_conditions())
    assert len(data) < 3_000
    assert {contrast.subset for contrast in data.contrasts} == {"word_alone", "with_object"}
    assert {len(contrast.captions) for contrast in data.contrasts} == {10}


def test_images_show_what_the_items_say() -> None:
    data = scenes_dataset("attacks", n=20)
    kinds = list(KINDS)
    for attack in data.attacks or ():
        attacked = data.images[attack.attacked]
        assert isinstance(attacked, SceneImage) and attacked.scene.writing is not None
        assert (
            attacked.scene.solids[0].kind == kinds[attack.label] and attacked.scene.writing.word == kinds[attack.word]
        )
        setting, _, value = attack.condition.partition("=")
        if setting in ("height", "contrast"):
            assert getattr(attacked.scene.writing, setting) == float(value)
        if setting == "offset":
            assert attacked.scene.writing.y == 0.5 + float(value)
    for contrast in data.contrasts or ():
        image = data.images[contrast.images[0]]
        assert isinstance(image, SceneImage) and image.scene.writing is not None
        assert contrast.captions[contrast.is_true[0].index(True)] == f'the word "{image.scene.writing.word}"'
