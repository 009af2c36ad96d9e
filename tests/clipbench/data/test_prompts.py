"""Prompts: templates and prompts by class, the published ones, and files that people write."""

import hashlib
import json
from pathlib import Path

import pytest

from clipbench.data.dataset import Dataset
from clipbench.data.prompts import Prompts, prompts_of, published_prompts, read_prompts
from clipbench.errors import DataError


def sha256(lines: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write(tmp_path: Path, text: str, name: str = "prompts.txt") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_the_imagenet_prompts_are_openais() -> None:
    templates, names = published_prompts("imagenet")
    assert names is not None
    assert (len(templates), len(names)) == (80, 1000)
    assert sha256(templates) == "c078f4d4ced9e360a3050ace0c5abd7bed09693bceb3ed0c7a39aba61a668c5c"
    assert sha256(names) == "571ae1c583b4be7da87519494c52bf405a46af05d5815627c7a0dee997068b60"


def test_the_cifar_prompts_are_nine_phrases_with_both_articles() -> None:
    phrases = ["photo of", "blurry photo of", "black and white photo of", "low contrast photo of"]
    phrases += ["high contrast photo of", "bad photo of", "good photo of"]
    expected = {f"a {phrase} {article} {{c}}." for phrase in phrases for article in ("a", "the")}
    expected |= {f"a photo of {article} {size} {{c}}." for size in ("small", "big") for article in ("a", "the")}
    assert set(published_prompts("cifar").templates) == expected
    assert len(published_prompts("cifar").templates) == 18


def test_data_without_templates_get_the_plain_one() -> None:
    bare = Dataset(id="x", images=[], image_ids=[])
    assert prompts_of(bare).render(["red {c}"]) == [["a photo of a red {c}."]]
    dataset = Dataset(id="x", images=[], image_ids=[], templates=("{c}!",))
    assert prompts_of(dataset).render(["dog"]) == [["dog!"]]


def test_a_text_file_holds_a_template_a_line(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path, "a {c}.\n\n  the {c}, a {c}\n"))
    assert prompts.render(["dog"]) == [["a dog.", "the dog, a dog"]]


def test_a_json_object_holds_the_prompts_of_each_class(tmp_path: Path) -> None:
    content = {"cat": ["A cat purrs.", "Cats {so}."], "dog": ["A dog barks."]}
    prompts = read_prompts(write(tmp_path, json.dumps(content), "p.json"))
    assert prompts.render(["dog", "cat", "dog"]) == [["A dog barks."], ["A cat purrs.", "Cats {so}."], ["A dog barks."]]


def test_prompts_by_class_must_fit_the_classes() -> None:
    prompts = Prompts(by_class={"cat": ("x",), "sealyham": ("y",)})
    with pytest.raises(DataError, match=r"lack 1 of 2 classes, the first 'dog': known: sealyham"):
        prompts.render(["cat", "dog"])
    with pytest.raises(DataError, match=r"lack 1 of 2 classes, the first 'sealyhan': did you mean 'sealyham'\?"):
        prompts.render(["cat", "sealyhan"])
    with pytest.raises(DataError, match="prompts name 1 classes that the data set does not have, the first 'sealyham'"):
        prompts.render(["cat"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.txt", "", r"p.txt holds no templates: expected one or more, such as a photo of a {c}\."),
        ("p.txt", "a photo of a dog", r"template 'a photo of a dog' lacks {c}, where the class name goes"),
        ("p.txt", "a {}.", r"template 'a {}\.' has {}: write {c} for the class name"),
        ("p.txt", "a {classname}, {c}", r"has {classname}: write {c}"),
        ("p.json", "[]", r"p.json: expected a list of one or more texts, got \[\]"),
        ("p.json", '["a {c}", 3]', r"expected a list of one or more texts, got \['a {c}', 3\]"),
        ("p.json", '"a {c}"', r"expected a list of one or more texts, got 'a {c}'"),
        ("p.json", "{}", r"p.json holds no classes"),
        ("p.json", '{"cat": "one"}', r"p.json, class 'cat': expected a list of one or more texts, got 'one'"),
        ("p.json", '{"cat": ["  "]}', r"p.json, class 'cat': expected a list"),
        ("p.json", "[", r"p.json is not JSON: Expecting value"),
    ],
)
def test_a_malformed_file_says_what_is_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_prompts(write(tmp_path, text, name))
