"""Models of open_clip: pretrained tags, Hub repositories, folders, and checkpoints of a training run.

This module resolves references; torch and open_clip are imported only when a model is loaded.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clipbench.errors import ModelError, UsageError
from clipbench.hub import HubRequest
from clipbench.models.checkpoints import CHECKPOINT_SUFFIXES
from clipbench.models.options import LoadOptions
from clipbench.untrusted.reading import MOST_BYTES_OF_SETTINGS, entries, is_file, read_json

if TYPE_CHECKING:
    from clipbench.models.towers.open_clip_model import Recipe
    from clipbench.models.towers.torch_model import TorchModel

RANDOM = "random"
"""Tag for random weights on purpose."""

QUICK = "-quickgelu"
"""Suffix of open_clip's architectures with OpenAI's activation."""

FOLDER_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""File names that open_clip gives the weights it writes for the Hub, best first."""


def load(body: str, options: LoadOptions) -> "TorchModel":
    """Return ``ARCH/TAG`` with its pretrained weights, ``ARCH/random``, or (with ``options.arch``) a checkpoint file.

    Options: ``context``; for a file ``tag``, whose preprocessing and activation it shares; for random weights ``seed``.

    Raises:
        UsageError: an unknown architecture, tag or option.
        ModelError: a checkpoint that cannot be read or does not fit.
        Unavailable: weights that are not on this machine and cannot be fetched.
    """
    from clipbench.models.towers.open_clip_model import build

    if options.arch is not None:
        if Path(body).suffix.lower() not in CHECKPOINT_SUFFIXES:
            options.refuse_arch(f"open_clip:{body}")
        return build(_file_recipe(Path(body), options.arch, options), options)
    arch, tag = _arch_and_tag(body)
    return build(_random_recipe(arch, options) if tag == RANDOM else _tag_recipe(arch, tag, options), options)


def load_hub(body: str, options: LoadOptions) -> "TorchModel":
    """Return the model of a Hub repository ``ORG/NAME`` that holds an open_clip configuration. Option: ``context``."""
    reference = f"hf-hub:{body}"
    options.refuse_arch(reference)
    options.refuse_unknown(["context"], reference)
    from open_clip.pretrained import download_pretrained_from_hf

    from clipbench.models.towers.open_clip_model import Recipe, build, from_hub

    path = from_hub(lambda: download_pretrained_from_hf(body), _weights_request(reference, body), reference)
    recipe = Recipe(id=reference, name=reference, weights=Path(path), context=options.whole_number("context"))
    return build(recipe, options)


def load_folder(body: str, options: LoadOptions) -> "TorchModel":
    """Return the model of a folder with ``open_clip_config.json``, weights and its tokenizer. Option: ``context``."""
    reference = f"local-dir:{body}"
    options.refuse_arch(reference)
    options.refuse_unknown(["context"], reference)
    _check_folder_config(Path(body), reference)
    from clipbench.models.towers.open_clip_model import Recipe, build

    weights = _weights_in(Path(body), reference)
    return build(
        Recipe(id=reference, name=reference, weights=weights, context=options.whole_number("context")), options
    )


def _tag_recipe(arch: str, tag: str, options: LoadOptions) -> "Recipe":
    options.refuse_unknown(["context"], f"open_clip:{arch}/{tag}")
    import open_clip
    from open_clip.pretrained import download_pretrained

    from clipbench.models.towers.open_clip_model import Recipe, from_hub

    settings = open_clip.get_pretrained_cfg(arch, tag)
    name, notes = _with_activation(arch, tag)
    reference = f"open_clip:{name}/{tag}"
    request = _weights_request(reference, settings["hf_hub"].rpartition("/")[0])
    path = from_hub(lambda: download_pretrained(settings), request, reference)
    context = options.whole_number("context")
    return Recipe(id=reference, name=name, weights=Path(path), preprocess=settings, context=context, notes=notes)


def _random_recipe(arch: str, options: LoadOptions) -> "Recipe":
    from clipbench.models.towers.open_clip_model import Recipe

    reference = f"open_clip:{arch}/{RANDOM}"
    options.refuse_unknown(["seed", "context"], reference)
    seed = options.whole_number("seed") or 0
    settings, _ = _preprocess_of(arch)
    return Recipe(
        id=reference,
        name=arch,
        weights=None,
        preprocess=settings,
        context=options.whole_number("context"),
        seed=seed,
        notes=(f"random weights (seed {seed}), on request: nothing was learned",),
    )


def _file_recipe(path: Path, arch: str, options: LoadOptions) -> "Recipe":
    from clipbench.models.towers.open_clip_model import Recipe

    options.refuse_unknown(["tag", "context"], str(path))
    name = _known_arch(arch)
    if "tag" in options.options:
        import open_clip

        tag = _known_tag(name, options.options["tag"])
        settings: Mapping[str, object] = open_clip.get_pretrained_cfg(name, tag)
        name, notes = _with_activation(name, tag)
    else:
        settings, notes = _preprocess_of(name)
        notes += _activation_note(name)
    context = options.whole_number("context")
    return Recipe(id=f"{path} as {name}", name=name, weights=path, preprocess=settings, context=context, notes=notes)


def _arch_and_tag(body: str) -> tuple[str, str]:
    if _find(body, _archs()):  # such as ViT-B/32, which is a whole name with a slash
        arch, tag = body, ""
    else:
        arch, _, tag = body.rpartition("," if "," in body else "/")
    arch = _known_arch(arch or body)
    if not tag:
        raise UsageError(
            f"'{body}' names no pretrained weights: expected {arch}/TAG, where TAG is {_some(_tags(arch))};"
            f" for random weights on purpose give open_clip:{arch}/{RANDOM}"
        )
    return arch, RANDOM if tag.lower() == RANDOM else _known_tag(arch, tag)


def _known_arch(name: str) -> str:
    return _find(name, _archs()) or _unknown("open_clip architecture", name, _archs())


def _known_tag(arch: str, name: str) -> str:
    return _find(name, _tags(arch)) or _unknown(f"pretrained tag of {arch}", name, _tags(arch))


def _archs() -> list[str]:
    import open_clip

    names: list[str] = open_clip.list_models()
    return names


def _tags(arch: str) -> list[str]:
    import open_clip

    names: list[str] = open_clip.list_pretrained_tags_by_model(arch)
    return names


def _find(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that matches, whatever its case, slashes and dashes."""
    return next((candidate for candidate in known if _plain(candidate) == _plain(name)), None)


def _plain(name: str) -> str:
    return name.casefold().replace("/", "-").replace("_", "-")


def _unknown(what: str, name: str, known: list[str]) -> NoReturn:
    by_plain = {_plain(candidate): candidate for candidate in known}
    near = [by_plain[plain] for plain in get_close_matches(_plain(name), by_plain, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {_some(known)}"
    raise UsageError(f"unknown {what} '{name}': {hint}")


def _some(names: list[str], n: int = 8) -> str:
    return ", ".join(names[:n]) + (f", ... ({len(names)} in all)" if len(names) > n else "") or "none"


def _with_activation(arch: str, tag: str) -> tuple[str, tuple[str, ...]]:
    """Return the architecture with the activation that a tag was trained with, and a note if that is another one.

    ``create_model("ViT-B-32", pretrained="openai")`` of open_clip 3.3 computes with the wrong one and only warns.
    """
    import open_clip

    is_quick = open_clip.get_model_config(arch).get("quick_gelu", False)
    if is_quick or not open_clip.get_pretrained_cfg(arch, tag).get("quick_gelu", False):
        return arch, ()
    name = f"{arch}{QUICK}"
    if name not in _archs():
        raise ModelError(f"{arch}/{tag} was trained with QuickGELU, and this open_clip has no {name}: update open_clip")
    return name, (f"{tag} was trained with QuickGELU: loaded as {name}, because {arch} has another activation",)


def _activation_note(arch: str) -> tuple[str, ...]:
    if f"{arch}{QUICK}" not in _archs():
        return ()
    return (f"the activation is {arch}'s GELU: weights fine-tuned from OpenAI's need --arch {arch}{QUICK}",)


def _preprocess_of(arch: str) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """Return the preprocessing that all pretrained weights of an architecture share, or else open_clip's default.

    A checkpoint of one's own does not record which it was trained with, so a note says what is used.
    """
    import open_clip

    keys = ("mean", "std", "interpolation", "resize_mode")
    configs = [open_clip.get_pretrained_cfg(arch, tag) for tag in _tags(arch)]
    distinct = {repr([config[key] for key in keys]): {key: config[key] for key in keys} for config in configs}
    if len(distinct) == 1:
        settings: dict[str, object] = next(iter(distinct.values()))
        shown = ", ".join(f"{key} {value}" for key, value in settings.items())
        return settings, (f"preprocessing of open_clip's {arch} weights: {shown}",)
    why = "the pretrained weights differ in it" if distinct else "there are no pretrained weights"
    return {}, (
        f"the preprocessing is open_clip's default, because {why} for {arch}; --model-option tag=TAG names another",
    )


def _weights_request(reference: str, repository: str) -> HubRequest:
    from clipbench.models.towers.open_clip_model import OFFLINE_ADVICE

    return HubRequest(
        what=f"the weights of {reference}",
        repository=repository,
        remedy=f"where there is a network run `hf download {repository} --local-dir FOLDER`, bring the folder here and"
        f" give --model local-dir:FOLDER, or {OFFLINE_ADVICE}",
    )


def _check_folder_config(folder: Path, reference: str) -> None:
    path = folder / "open_clip_config.json"
    if not is_file(path):
        raise ModelError(
            f"{reference} has no open_clip_config.json: expected a folder as open_clip writes it for the Hub; a bare"
            " checkpoint is --model FILE with --arch ARCH, a transformers model --model hf:FOLDER"
        )
    config = read_json(path, ModelError, most=MOST_BYTES_OF_SETTINGS)
    model = config.get("model_cfg") if isinstance(config, dict) else None
    kinds = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    if not isinstance(model, dict) or not all(isinstance(model.get(key), kind) for key, kind in kinds.items()):
        raise ModelError(
            f"{path} has no whole number embed_dim, or no objects vision_cfg and text_cfg, under 'model_cfg': is it"
            " open_clip's?"
        )


def _weights_in(folder: Path, reference: str) -> Path:
    for name in FOLDER_WEIGHTS:
        if is_file(folder / name):
            return folder / name
    checkpoints = sorted(path for path in entries(folder, ModelError) if path.suffix.lower() in CHECKPOINT_SUFFIXES)
    if len(checkpoints) != 1:
        names = ", ".join(path.name for path in checkpoints) or "none"
        raise ModelError(f"{reference} has no {FOLDER_WEIGHTS[0]}, and not exactly one other checkpoint: found {names}")
    return checkpoints[0]
