"""Two towers as ONNX graphs in a folder, run by onnxruntime, with the files of their processor and tokenizer.

``import onnx`` in here would mean the library: imports are absolute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clipbench.data.modalities import TEXT
from clipbench.errors import ModelError, UsageError, did_you_mean, model_option, option
from clipbench.models.fingerprint import TEXTS, check_vectors, digest, file_digest, probe_images
from clipbench.models.options import LoadOptions, Tower, with_options
from clipbench.models.protocol import (
    Internals,
    Model,
    ModelInfo,
    Notes,
    Preprocess,
    Role,
    TokenCounts,
    Vectors,
    encode_in_batches,
    stack_inputs,
)
from clipbench.models.towers.onnx_inputs import TextInputs, image_inputs, text_inputs
from clipbench.models.towers.torch_model import first_line
from clipbench.plugins import import_optional
from clipbench.untrusted.reading import entries, is_file, is_folder

ADAPTER = "onnx adapter 1"
"""Part of every fingerprint, changed whenever the same graphs would give other vectors."""

PIXELS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
TOKENS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of inputs that can be fed."""

OUTPUTS = ("image_embeds", "text_embeds", "embeddings", "embedding")
"""Names of the output that holds the vectors where there are several, best first."""

ACCELERATORS = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
"""onnxruntime's provider of each of torch's device types, which ``--device`` names."""

CPU = "CPUExecutionProvider"

BATCH_NOISE = 1e-3
"""Fraction of a vector's length by which sums of another order may change it. A larger change gets a note."""

NAMES: dict[Tower, tuple[str, ...]] = {
    "images": ("vision_model", "visual", "image_encoder", "image", "vision"),
    "texts": ("text_model", "textual", "text_encoder", "text"),
}
"""Names that exporters give to the towers, of a file or of a folder with ``model.onnx``, best first."""

OPTIONS = ("images", "texts", "variant", "image_output", "text_output", "provider", "logit_scale", "logit_bias")


@dataclass(frozen=True)
class Graph:
    """A tower's graph in a session, with the output that holds its vectors."""

    session: Any
    output: str

    @property
    def inputs(self) -> Any:
        """The inputs of the graph, with names, shapes and types."""
        return self.session.get_inputs()

    def vectors(self, inputs: Mapping[str, np.ndarray], step: int) -> Vectors:
        """Return one vector per row, in batches of ``step`` rows, or of the graph's own batch size."""
        types = {port.name: (PIXELS | TOKENS)[port.type] for port in self.inputs}
        n, fixed, chunks = len(next(iter(inputs.values()))), self.inputs[0].shape[0], []
        size = fixed if isinstance(fixed, int) else step
        for start in range(0, n, size):
            end = start + size if isinstance(fixed, int) else min(start + size, n)
            rows = np.arange(start, end) % n  # repeats fill a fixed batch
            feed = {name: np.ascontiguousarray(values[rows], types[name]) for name, values in inputs.items()}
            (vectors,) = self.session.run([self.output], feed)
            chunks.append(vectors[: n - start].astype(np.float32))
        return np.concatenate(chunks)


@dataclass(frozen=True, kw_only=True)
class OnnxModel(Model):
    """A model made of ONNX graphs, without a graph for a tower that was not requested."""

    info: ModelInfo
    graphs: Mapping[Tower, Graph]
    preprocess: Preprocess | None
    texts: TextInputs | None
    batch_size: int
    files: Sequence[Path] = ()

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one raw vector per item, in order, with each text padded to the full length."""
        step = self.batch_size
        if modality != TEXT:
            graph = self.graphs["images"]
            return graph.vectors({graph.inputs[0].name: np.asarray(inputs)}, step)
        graph, texts = self.graphs["texts"], self.texts
        assert texts is not None, self.info.id
        encode = lambda batch: graph.vectors(texts.tokenize(list(batch)), step)
        return encode_in_batches(encode, inputs, step, self.info.embed_dim)

    def count_tokens(self, texts: Sequence[str]) -> TokenCounts:
        return super().count_tokens(texts) if self.texts is None else self.texts.count(texts)

    def internals(self) -> Internals:
        """Return the preprocessing, the tokenizer and the graphs."""
        images = super().internals()
        if self.texts is None:
            return images
        graph, step = self.graphs["texts"], self.batch_size
        return replace(images, tokenize=self.texts.tokenize, encode_tokens=lambda tokens: graph.vectors(tokens, step))


def load(body: str, options: LoadOptions) -> OnnxModel:
    """Return the model of a folder with one graph per tower, as optimum, transformers.js and open_clip exports have it.

    Options: ``variant`` (``quantized`` for ``text_model_quantized.onnx``); ``images`` and ``texts``, paths of the
        graphs
    in the folder; ``image_output`` and ``text_output``, names of their vectors; ``provider`` of onnxruntime;
    ``logit_scale`` and ``logit_bias``, which graphs of single towers do not hold.

    Raises:
        UsageError: no folder, or an option, device or provider that cannot be had.
        ModelError: a graph, processor or tokenizer is missing, damaged, or does not take only images or only texts.
    """
    reference = f"onnx:{body}"
    options.refuse_unknown(OPTIONS, reference)
    options.refuse_precision(reference, "whose files fix it")
    folder = Path(body)
    if not is_folder(folder):
        raise UsageError(f"'{reference}' is not a folder: expected onnx:FOLDER with one .onnx file per tower")
    scale, bias = options.logits()
    paths = {tower: _find_graph(folder, tower, options, reference) for tower in options.towers}
    import_optional("onnxruntime", extra="onnx", needed_by=reference)
    provider, device = _choose_provider(options, reference)
    sessions = {tower: _open_session(path, provider, reference) for tower, path in paths.items()}
    images, texts, graphs = None, None, dict[Tower, Graph]()
    if "images" in paths:
        images = image_inputs(folder, paths["images"], reference)
        graphs["images"] = _image_graph(sessions["images"], paths["images"], options.options.get("image_output"))
    if "texts" in paths:
        path, session = paths["texts"], sessions["texts"]
        texts = text_inputs(folder, path, _token_length(session, path), reference)
        graphs["texts"] = _text_graph(session, path, texts, options.options.get("text_output"))
        texts = texts.restricted_to([port.name for port in session.get_inputs()])
    preprocess = None if images is None else images.preprocess
    dim, batch_notes = _probe_graphs(graphs, preprocess, texts, paths)
    fingerprint = digest(
        ADAPTER,
        *paths,
        *(_digest_with_weights(path) for path in paths.values()),
        "" if images is None else images.identity,
        "" if texts is None else texts.identity,
        *(graph.output for graph in graphs.values()),
    )
    info = ModelInfo(
        ref=reference,
        id=with_options(reference, options.options),
        fingerprint=fingerprint,
        family="onnx",
        embed_dim=dim,
        context_length=None if texts is None else texts.context_length,
        image_size=None if images is None else images.side,
        logit_scale=scale,
        logit_bias=bias,
        device=device,
        notes=batch_notes if texts is None else (*texts.notes, *batch_notes),
    )
    return OnnxModel(
        info=info, graphs=graphs, preprocess=preprocess, texts=texts, batch_size=options.n_at_once, files=(folder,)
    )


def _find_graph(folder: Path, tower: Tower, options: LoadOptions, reference: str) -> Path:
    file_name = options.options.get(tower)
    if file_name is not None:
        if not is_file(folder / file_name):
            raise UsageError(f"model option {tower}={file_name}: no such file in {folder}")
        return folder / file_name
    variant = f"_{options.options['variant']}" if "variant" in options.options else ""
    for name in NAMES[tower]:
        for candidate in (f"{name}{variant}.onnx", f"onnx/{name}{variant}.onnx", f"{name}/model{variant}.onnx"):
            if is_file(folder / candidate):
                return folder / candidate
    graphs = sorted(folder.rglob("*.onnx"))
    have = ", ".join(path.relative_to(folder).as_posix() for path in graphs[:6]) or "none"
    raise ModelError(
        f"{reference} has no graph of {tower}: expected {NAMES[tower][0]}{variant}.onnx there or in"
        f" onnx/, or {model_option(**{tower: 'FILE'})}. Present .onnx files: {have}"
    )


def _choose_provider(options: LoadOptions, reference: str) -> tuple[tuple[str, dict[str, str]], str]:
    """Return onnxruntime's provider with its settings, and the device by name."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    name = options.options.get("provider")
    if name is not None:
        if name not in available:
            raise UsageError(
                f"model option provider={name}: this onnxruntime does not have it: {did_you_mean(name, available)}"
            )
        return (name, {}), name.removesuffix("ExecutionProvider").lower()
    kind, _, number = options.device.partition(":")
    if kind == "auto":
        kind = next((device for device, provider in ACCELERATORS.items() if provider in available), "cpu")
    provider = CPU if kind == "cpu" else ACCELERATORS.get(kind)
    if provider is None or provider not in available:
        raise UsageError(
            f"device '{options.device}' cannot be used for {reference}: onnxruntime has"
            f" {', '.join(available)} here (onnxruntime-gpu provides CUDA, and"
            f" {model_option(provider='NAME')} selects another)"
        )
    return (provider, {"device_id": number} if number else {}), f"{kind}:{number}" if number else kind


def _open_session(path: Path, provider: tuple[str, dict[str, str]], reference: str) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what matters is raised
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=[provider])
    except Exception as error:  # onnxruntime has an error class for each status, all below Exception
        raise ModelError(
            f"onnxruntime cannot read {path} ({first_line(error)}): expected a complete ONNX graph, with the"
            " files of its external data next to it"
        ) from error
    used = session.get_providers()[0]
    if used != provider[0]:  # it falls back without an error
        raise UsageError(
            f"onnxruntime runs {reference} on {used} and not on {provider[0]}: give {option('device', 'cpu')}"
        )
    return session


def _image_graph(session: Any, path: Path, output: str | None) -> Graph:
    inputs = session.get_inputs()
    if not (len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].type in PIXELS):
        raise ModelError(
            f"{path} takes {_list_ports(inputs)}: expected only pixels, floats of shape (n, 3, height,"
            " width). Export a graph of both towers as one graph per tower"
        )
    return Graph(session, _choose_output(session, path, output, "image_output"))


def _token_length(session: Any, path: Path) -> int | None:
    """Return the fixed number of tokens of a text graph, None if it varies, or raise ModelError without token ids."""
    inputs = session.get_inputs()
    if not inputs or not all(len(port.shape) == 2 and port.type in TOKENS for port in inputs):
        raise ModelError(
            f"{path} takes {_list_ports(inputs)}: expected token ids, integers of shape (n, length). Export a"
            " graph of both towers as one graph per tower"
        )
    return next((port.shape[1] for port in inputs if isinstance(port.shape[1], int)), None)


def _text_graph(session: Any, path: Path, texts: TextInputs, output: str | None) -> Graph:
    inputs = session.get_inputs()
    unknown = [port.name for port in inputs if port.name not in texts.names]
    if unknown and len(inputs) > 1:
        raise ModelError(
            f"{path} takes {_list_ports(inputs)}: expected only the outputs of its tokenizer, {', '.join(texts.names)}"
        )
    return Graph(session, _choose_output(session, path, output, "text_output"))


def _choose_output(session: Any, path: Path, output_name: str | None, key: str) -> str:
    outputs = session.get_outputs()
    names = [port.name for port in outputs]
    if output_name is not None:
        if output_name not in names:
            raise UsageError(
                f"model option {key}={output_name}: {path} has no such output: {did_you_mean(output_name, names)}"
            )
        return output_name
    usual_names = [name for name in OUTPUTS if name in names]
    rows = [port.name for port in outputs if len(port.shape or ()) == 2]
    if usual_names or len(rows) == 1:
        return (usual_names or rows)[0]
    raise ModelError(
        f"{path} gives {_list_ports(outputs)}: expected one output with one vector per row. Select it with"
        f" {model_option(**{key: 'NAME'})}"
    )


def _probe_graphs(
    graphs: Mapping[Tower, Graph], preprocess: Preprocess | None, texts: TextInputs | None, paths: Mapping[Tower, Path]
) -> tuple[int, Notes]:
    """Return the dimension of the vectors, and notes, after encoding a few images and texts."""
    inputs: dict[Tower, Mapping[str, np.ndarray]] = {}
    if preprocess is not None:
        input_name = graphs["images"].inputs[0].name
        inputs["images"] = {input_name: stack_inputs([preprocess(image) for image in probe_images()])}
    if texts is not None:
        inputs["texts"] = texts.tokenize(TEXTS)
    dims, notes = {}, []
    for tower, arrays in inputs.items():
        try:
            batched = graphs[tower].vectors(arrays, len(TEXTS))
            single = graphs[tower].vectors(arrays, 1)
        except Exception as error:  # onnxruntime has an error class for each status, all below Exception
            raise ModelError(
                f"{paths[tower]} does not accept the inputs of its processor and tokenizer files"
                f" ({first_line(error)}): check that these files belong to the graph, "
                "and that it was exported with a dynamic batch size"
            ) from error
        if batched.ndim != 2:
            raise ModelError(
                f"{paths[tower]} gives shape {batched.shape} for {len(TEXTS)} {tower}: expected one vector each"
            )
        for vectors in (batched, single):
            check_vectors(vectors, str(paths[tower]))
        dims[tower] = batched.shape[1]
        change = np.max(np.linalg.norm(batched - single, axis=1) / np.linalg.norm(single, axis=1))
        if not change < BATCH_NOISE:
            notes.append(
                f"vectors of {tower} depend on the other items of their batch: one changes by up to {change:.1%} of its"
                " length, as with dynamic quantization. Compare only runs with the same batch size"
            )
    if len(set(dims.values())) != 1:
        raise ModelError(
            "the towers give vectors of different dimensions"
            f" ({', '.join(f'{tower} {dim}' for tower, dim in dims.items())}): expected the projected"
            f" embeddings. Select other outputs with {model_option(image_output='NAME')} or"
            f" {model_option(text_output='NAME')}"
        )
    return next(iter(dims.values())), tuple(notes)


def _digest_with_weights(path: Path) -> str:
    """Return a hash of a graph and of the weight files that may belong to it."""
    weight_files = [
        file
        for file in entries(path.parent, ModelError)
        if is_file(file) and file.suffix not in (".onnx", ".json", ".txt", ".md", ".model", ".safetensors")
    ]
    return digest(*map(file_digest, [path, *weight_files]))


def _list_ports(ports: Sequence[Any]) -> str:
    return ", ".join(f"{port.name} {port.type}{list(port.shape or [])}" for port in ports) or "nothing"
