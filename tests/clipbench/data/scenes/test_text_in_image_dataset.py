"""The generated world's words: what is asked, how much it costs, and that images are shared where they are the same."""

from clipbench.data.scenes import SceneImage, scenes_dataset
from clipbench.data.scenes.text_in_image_dataset import SWEEPS, label_conditions
from clipbench.data.scenes.vocabulary import KINDS


def test_the_set_has_words_to_read_and_objects_to_attack_within_its_budget() -> None:
    data = scenes_dataset("text-in-image")
    assert data.contrasts is not None and data.attacks is not None
    assert len(data.contrasts) == 300 and len(data.attacks) == 300 + 75 * len(label_conditions())
    assert len(data) < 3_000
    assert {each.subset for each in data.contrasts} == {"word_alone", "with_object"}
    assert {len(each.captions) for each in data.contrasts} == {10}


def test_images_show_what_the_items_say() -> None:
    data = scenes_dataset("text-in-image", n=20)
    kinds = list(KINDS)
    for each in data.attacks or ():
        attacked = data.images[each.attacked]
        assert isinstance(attacked, SceneImage) and attacked.scene.writing is not None
        assert attacked.scene.solids[0].kind == kinds[each.label] and attacked.scene.writing.word == kinds[each.word]
        setting, _, value = each.condition.partition("=")
        if setting in ("height", "contrast"):
            assert getattr(attacked.scene.writing, setting) == float(value)
        if setting == "offset":
            assert attacked.scene.writing.y == 0.5 + float(value)
    for contrast in data.contrasts or ():
        shown = data.images[contrast.images[0]]
        assert isinstance(shown, SceneImage) and shown.scene.writing is not None
        assert contrast.captions[contrast.is_true[0].index(True)] == f'the word "{shown.scene.writing.word}"'


def test_no_image_is_there_twice() -> None:
    data = scenes_dataset("text-in-image", n=40)
    assert len({image.digest() for image in data.images}) == len(data)
    assert len({image.name for image in data.images}) == len(data)


def test_the_usual_label_is_a_point_of_each_curve() -> None:
    data = scenes_dataset("text-in-image", n=4)
    usual = {each.condition for each in data.attacks or () if each.attacked == (data.attacks or ())[0].attacked}
    assert usual == {"", "height=0.11", "contrast=1", "offset=0"} and set(SWEEPS) == {"height", "contrast", "offset"}
