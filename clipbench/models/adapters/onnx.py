"""Two towers as ONNX graphs in a folder, computed by onnxruntime; with the files of their processor and tokenizer.

``import onnx`` in here would mean the library: imports are absolute.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clipbench.errors import ModelError, UsageError
from clipbench.models.options import LoadOptions, Tower
from clipbench.plugins import optional
from clipbench.untrusted.reading import is_file, is_folder

if TYPE_CHECKING:
    from clipbench.models.towers.onnx_model import OnnxModel

NAMES: dict[Tower, tuple[str, ...]] = {
    "images": ("vision_model", "visual", "image_encoder", "image", "vision"),
    "texts": ("text_model", "textual", "text_encoder", "text"),
}
"""Names that exporters give to the towers, of a file or of a folder with ``model.onnx``; best first."""

OPTIONS = ("images", "texts", "variant", "image_output", "text_output", "provider", "logit_scale", "logit_bias")


def load(body: str, options: LoadOptions) -> "OnnxModel":
    """Return the model of a folder with one graph a tower, as optimum, transformers.js and open_clip exports have it.

    Options: ``variant`` (``quantized`` for ``text_model_quantized.onnx``); ``images`` and ``texts``, paths of the graphs
    in the folder; ``image_output`` and ``text_output``, names of their vectors; ``provider`` of onnxruntime;
    ``logit_scale`` and ``logit_bias``, which graphs of single towers do not hold.

    Raises:
        UsageError: no folder, or an option, device or provider that cannot be had.
        ModelError: a graph, processor or tokenizer is missing, damaged, or does not take images or texts alone.
    """
    reference = f"onnx:{body}"
    options.refuse_arch(reference)
    options.refuse_unknown(OPTIONS, reference)
    options.refuse_precision(reference, "whose files fix it")
    folder = Path(body)
    if not is_folder(folder):
        raise UsageError(f"'{reference}' is no folder: expected onnx:FOLDER with one .onnx file a tower")
    options.logits()
    graphs = {tower: _graph(folder, tower, options, reference) for tower in options.towers}
    optional("onnxruntime", extra="onnx", needed_by=reference)
    from clipbench.models.towers.onnx_model import build

    return build(folder, graphs, options)


def _graph(folder: Path, tower: Tower, options: LoadOptions, reference: str) -> Path:
    """Return the file of a tower's graph."""
    named = options.options.get(tower)
    if named is not None:
        if not is_file(folder / named):
            raise UsageError(f"model option {tower}={named}: no such file in {folder}")
        return folder / named
    found = next((path for path in _places(folder, tower, options.options.get("variant")) if is_file(path)), None)
    if found is None:
        have = ", ".join(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.onnx"))[:6]) or "none"
        variant = f"_{options.options['variant']}" if "variant" in options.options else ""
        raise ModelError(
            f"{reference} has no graph of {tower}: expected {NAMES[tower][0]}{variant}.onnx there or in onnx/, or"
            f" --model-option {tower}=FILE; .onnx files found: {have}"
        )
    return found


def _places(folder: Path, tower: Tower, variant: str | None) -> Iterator[Path]:
    suffix = ".onnx" if variant is None else f"_{variant}.onnx"
    for name in NAMES[tower]:
        yield folder / f"{name}{suffix}"
        yield folder / "onnx" / f"{name}{suffix}"
        yield folder / name / f"model{suffix}"
