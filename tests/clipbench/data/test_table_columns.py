"""Roles of columns: usual names, precedence, and the choices that only the user can make."""

import pytest

from clipbench.data.readers.table import find_roles, rows_of_split
from clipbench.errors import UsageError


def test_canonical_names_win_over_usual_ones() -> None:
    roles = find_roles(["title", "captions", "image", "path", "image_id", "id"], {}, source="m")
    assert (roles.captions, roles.image, roles.id, roles.label) == (("captions",), "image", "image_id", None)


def test_numbered_caption_columns_are_taken_together_in_the_order_of_their_numbers() -> None:
    columns = ["image", "caption_10", "caption_2", "caption_0"]
    assert find_roles(columns, {}, source="m").captions == ("caption_0", "caption_2", "caption_10")


def test_naming_the_label_turns_off_guessing_captions_and_the_reverse() -> None:
    columns = ["path", "text", "label", "object"]
    by_label = find_roles(columns, {"label": "object"}, source="m")
    by_caption = find_roles(columns, {"caption": "text"}, source="m")
    assert (by_label.label, by_label.captions) == ("object", ())
    assert (by_caption.label, by_caption.captions) == (None, ("text",))


def test_several_caption_columns_can_be_named() -> None:
    assert find_roles(["img", "a", "b"], {"caption": "a, b"}, source="m").captions == ("a", "b")
    assert find_roles(["img", "a,b"], {"caption": "a,b"}, source="m").captions == ("a,b",)


def test_the_type_of_a_column_gives_the_image_away_but_not_against_the_user() -> None:
    columns = ["a", "b", "label"]
    assert find_roles(columns, {}, source="m", image="a").image == "a"
    assert find_roles(columns, {"image": "b"}, source="m", image="a").image == "b"


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (["path", "file_name", "label"], {}, r"m: path and file_name could each be the image column: its columns are"),
        (["image", "caption", "captions"], {}, r"caption and captions could each be the caption"),
        (["image", "label", "class"], {}, r"label and class could each be the label column.*data_options="),
        (
            ["url", "caption"],
            {},
            r"m has no image column: its columns are url, caption\. .*data_options=\{'image': 'COLUMN'\}",
        ),
        (["image", "kind"], {}, r"neither captions nor labels: its columns are image, kind\. .* or data_options="),
        (["image", "caption"], {"caption": "captoin"}, r"m has no column 'captoin' .*did you mean 'caption'\?"),
    ],
)
def test_a_choice_that_cannot_be_made_lists_the_columns_and_the_option(
    columns: list[str], options: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        find_roles(columns, options, source="m")


def test_a_split_keeps_its_rows_and_an_unknown_one_lists_those_there_are() -> None:
    assert rows_of_split(["test", "train", "test"], "test", source="m") == [0, 2]
    assert rows_of_split(["test", "train"], None, source="m") == [0, 1]
    with pytest.raises(UsageError, match="m has no split 'val': it has test, train"):
        rows_of_split(["test", "train"], "val", source="m")
