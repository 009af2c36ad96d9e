"""Changes of the input that may raise a score: templates and spelling of texts, and shape, size and colours of images.

Each is made before the model's own code sees the input, so that it fits any model, whatever parts its adapter shows.
This is the only list: ``doctor --data``, ``doctor --expect`` and ``run`` all try what it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

from PIL import Image

from clipbench.data.prompts import DEFAULT_TEMPLATES, PLACEHOLDER, open_clip_list
from clipbench.errors import option
from clipbench.models.fingerprint import digest
from clipbench.models.introspection.preprocessing import make_square, measure_preprocessing
from clipbench.models.introspection.variants import (
    NORMALIZATIONS,
    Variant,
    image_variants,
    images_as,
    texts_as,
    token_variants,
)
from clipbench.models.options import Tower
from clipbench.models.protocol import Model, Resize, Role, Vectors

ChangeKind = Literal["prompts", "captions", "images"]
ARTICLES = ("a ", "an ", "the ")
CODE = "in the adapter, before its own code: "


@dataclass(frozen=True, kw_only=True)
class InputChange:
    """One change of the input. Exactly one of ``templates``, ``text``, ``image`` and ``variant`` is set."""

    kind: ChangeKind
    switch: str
    """The aspect that it changes, such as ``templates`` or ``case``."""
    setting: str
    """What is done, such as ``texts in lower case``."""
    fix: str
    """The option or the line of code that makes the change for good."""
    templates: tuple[str, ...] | None = None
    """Templates of the classes, with ``{c}`` for the name."""
    text: Callable[[str], str] | None = None
    image: Callable[[Image.Image], Image.Image] | None = None
    variant: Variant | None = None
    """The model with one of its own parts changed, for a change of tokens or pixels."""


def prompt_changes(current: tuple[str, ...] | None, of_data: tuple[str, ...] | None = None) -> Sequence[InputChange]:
    """Return the changes of the prompts of classes, except the templates that are used already.

    Args:
        current: the templates in use, None for prompts that are given by class.
        of_data: the templates of the data set, if it has some.
    """
    changes = []
    for setting, lines, texts in _template_sets(of_data):
        if texts != current:
            fix = f"{option('prompts', 'FILE')} with {lines}"
            changes.append(InputChange(kind="prompts", switch="templates", setting=setting, fix=fix, templates=texts))
    return [*changes, *_text_changes("prompts")]


def caption_changes() -> Sequence[InputChange]:
    """Return the changes of captions."""
    change = partial(InputChange, kind="captions", switch="templates")
    return [
        change(
            setting="'a photo of' in front",
            fix=f'{CODE}texts = ["a photo of " + text for text in texts]',
            text=_with_photo,
        ),
        change(
            setting="without 'a photo of' in front",
            fix=f'{CODE}texts = [text.removeprefix("a photo of ") for text in texts]',
            text=_without_photo,
        ),
        *_text_changes("captions"),
    ]


def image_changes(side: int | None) -> Sequence[InputChange]:
    """Return the changes of images.

    Args:
        side: of the square input that the model states, in pixels, None if it states none.
    """
    change = partial(InputChange, kind="images")
    resizes: list[tuple[str, str, Resize]] = [
        ("images squashed to a square", "image.resize({size})", "squash"),
        ("images padded to a square", "ImageOps.pad(image, {size})", "pad"),
        ("the middle of an image cut out", "ImageOps.fit(image, {size})", "crop"),
    ]
    changes = []
    for setting, code, resize in resizes:
        code_of_size = code.format(size=_size_in_code(side, resize))
        fix = f"{CODE}images = [{code_of_size} for image in images]"
        changes.append(
            change(switch="resize", setting=setting, fix=fix, image=partial(_square, side=side, resize=resize))
        )
    return [
        *changes,
        change(
            switch="resolution",
            setting="images halved and enlarged again",
            fix=f"{CODE}images = [image.reduce(2).resize(image.size) for image in images]",
            image=_halved,
        ),
        change(
            switch="channels",
            setting="red and blue swapped",
            fix=f'{CODE}images = [Image.merge("RGB", image.split()[::-1]) for image in images]',
            image=_swapped,
        ),
        change(
            switch="channels",
            setting="images in grey",
            fix=f'{CODE}images = [image.convert("L").convert("RGB") for image in images]',
            image=_grey,
        ),
    ]


def part_changes(model: Model, of_texts: ChangeKind) -> Sequence[InputChange]:
    """Return the changes of tokens and pixels, as far as the model shows the parts that make them.

    They reach faults that no change of the input can undo, such as a missing normalization.

    Args:
        of_texts: kind of the changes of tokens.
    """
    parts = model.internals()
    changes = [
        InputChange(
            kind=of_texts,
            switch=variant.switch,
            setting=variant.setting,
            fix=f"in the adapter's tokenizer: {variant.setting}",
            variant=variant,
        )
        for variant in token_variants(model, parts)
    ]
    if parts.preprocess is None:
        return changes
    measured = measure_preprocessing(parts.preprocess, with_interpolation=False)
    for variant in image_variants(model, parts, measured):
        change = InputChange(
            kind="images",
            switch=variant.switch,
            setting=variant.setting,
            fix=f"in the adapter's preprocessing: {variant.setting}{_colours(variant)}",
            variant=variant,
        )
        changes.append(change)
    return changes


def _colours(variant: Variant) -> str:
    """Return mean and standard deviation of red, green and blue of a variant that has others."""
    if variant.setting not in NORMALIZATIONS:
        return ""
    mean, std = NORMALIZATIONS[variant.setting]
    return f", (image / 255 - {mean}) / {std}"


def changed_model(model: Model, change: InputChange) -> Variant:
    """Return the model that gets its texts or images changed. Templates are not an input of the model itself."""
    if change.variant is not None:
        return change.variant
    changes: tuple[Tower, ...] = ("images",) if change.image is not None else ("texts",)
    images, texts = partial(images_as, model), partial(texts_as, model)
    if change.image is not None:
        images = partial(_changed_images, model, change.image)
    if change.text is not None:
        texts = partial(_changed_texts, model, change.text)
    return Variant(
        switch=change.switch,
        setting=change.setting,
        changes=changes,
        info=replace(model.info, fingerprint=digest(model.info.fingerprint, change.switch, change.setting)),
        images=images,
        texts=texts,
        model=model,
    )


@cache
def _template_sets(of_data: tuple[str, ...] | None) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the sets of templates: what they are, the content of a file of them, and the templates."""
    imagenet, simple = map(open_clip_list, ("OPENAI_IMAGENET_TEMPLATES", "SIMPLE_IMAGENET_TEMPLATES"))
    sets = [
        ("class names without a template", f"the line {PLACEHOLDER}", (PLACEHOLDER,)),
        (f"the template '{DEFAULT_TEMPLATES[0]}'", f"the line {DEFAULT_TEMPLATES[0]}", DEFAULT_TEMPLATES),
        ("OpenAI's 80 templates for ImageNet", "open_clip.OPENAI_IMAGENET_TEMPLATES, one per line", imagenet),
        ("OpenAI's 7 best templates for ImageNet", "open_clip.SIMPLE_IMAGENET_TEMPLATES, one per line", simple),
    ]
    if of_data is None:
        return sets
    return [*sets, ("the data's own templates", "the data's templates, one per line", of_data)]


def _text_changes(kind: ChangeKind) -> list[InputChange]:
    changes = []
    for switch, setting, code, text in (
        ("article", "without the articles a, an, the", r're.sub(r"\b(an?|the) ", "", text)', _without_articles),
        ("full stop", "a full stop at the end", 'text.rstrip(". ") + "."', _with_stop),
        ("full stop", "no full stop at the end", 'text.rstrip(". ")', _without_stop),
        ("space", "a space at the end", 'text + " "', _with_space),
        ("space", "a space in front", '" " + text', _after_space),
        ("case", "texts in lower case", "text.lower()", str.lower),
        ("case", "texts in Title Case", "text.title()", str.title),
    ):
        fix = f"{CODE}texts = [{code} for text in texts]"
        changes.append(InputChange(kind=kind, switch=switch, setting=setting, fix=fix, text=text))
    return changes


def _with_photo(text: str) -> str:
    return text if text.lower().startswith("a photo of ") else f"a photo of {text}"


def _without_photo(text: str) -> str:
    return text[len("a photo of ") :] if text.lower().startswith("a photo of ") else text


def _without_articles(text: str) -> str:
    """Return a text without its articles.

    Example:
        >>> _without_articles("a photo of an apple.")
        'photo of apple.'
    """
    return " ".join(word for word in text.split(" ") if f"{word.lower()} " not in ARTICLES) or text


def _with_stop(text: str) -> str:
    return text.rstrip(". ") + "."


def _without_stop(text: str) -> str:
    return text.rstrip(". ") or text


def _with_space(text: str) -> str:
    return f"{text} "


def _after_space(text: str) -> str:
    return f" {text}"


def _size_in_code(side: int | None, resize: Resize) -> str:
    """Return the size of the square as code: the model's own, or the side that the change takes of the image."""
    own_side = "min(image.size)" if resize == "crop" else "max(image.size)"
    return f"({side or own_side}, {side or own_side})"


def _square(image: Image.Image, side: int | None, resize: Resize) -> Image.Image:
    own_side = min(image.size) if resize == "crop" else max(image.size)
    return make_square(image, side or own_side, resize, "bicubic")


def _halved(image: Image.Image) -> Image.Image:
    half = (max(1, image.width // 2), max(1, image.height // 2))
    return image.convert("RGB").resize(half, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


def _swapped(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.convert("RGB").split()[::-1])


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _changed_images(
    model: Model, change: Callable[[Image.Image], Image.Image], images: Sequence[Image.Image], role: Role = None
) -> Vectors:
    return images_as(model, [change(image) for image in images], role)


def _changed_texts(model: Model, change: Callable[[str], str], texts: Sequence[str], role: Role = None) -> Vectors:
    return texts_as(model, [change(text) for text in texts], role)
