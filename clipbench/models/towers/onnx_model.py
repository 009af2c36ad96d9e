"""Building a model of two ONNX graphs. Imported only with onnxruntime at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from jaxtyping import Float32, Int64
from PIL import Image

from clipbench.data.modalities import TEXT
from clipbench.errors import ModelError, UsageError, did_you_mean
from clipbench.models.fingerprint import digest, file_digest
from clipbench.models.internals import Internals
from clipbench.models.options import LoadOptions, Tower
from clipbench.models.probes import TEXTS, check_vectors, probe_images
from clipbench.models.protocol import Model, ModelInfo, Preprocess, Role, Vectors, stacked
from clipbench.models.towers.onnx_inputs import ImageInputs, TextInputs, image_inputs, text_inputs
from clipbench.models.towers.torch_model import first_line
from clipbench.untrusted.reading import entries, is_file

ADAPTER = "onnx adapter 1"
"""Part of every fingerprint; changed whenever the same graphs would give other vectors."""

PIXELS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
TOKENS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
"""Types of inputs that can be fed."""

OUTPUTS = ("image_embeds", "text_embeds", "embeddings", "embedding", "pooler_output")
"""Names of the output that holds the vectors where there are several, best first."""

ACCELERATORS = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
"""onnxruntime's provider of each of torch's device types, which ``--device`` names."""

CPU = "CPUExecutionProvider"

BATCH_NOISE = 1e-3
"""Share of a vector's length by which sums of another order may change it; more is said in a note."""


@dataclass(frozen=True)
class Graph:
    """A tower's graph in a session, with the output that holds its vectors."""

    session: Any
    output: str
    batch: int | None
    """Rows that the graph takes at once, where it is exported for a fixed number."""

    def vectors(self, inputs: Mapping[str, np.ndarray], step: int) -> Float32[np.ndarray, "n dim"]:
        """Return one vector a row, computed ``step`` rows at a time."""
        types = {each.name: (PIXELS | TOKENS)[each.type] for each in self.session.get_inputs()}
        n = len(next(iter(inputs.values())))
        size = self.batch or step
        found = []
        for start in range(0, n, size):
            rows = (
                np.arange(start, start + size if self.batch else min(start + size, n)) % n
            )  # repeats fill a fixed batch
            feed = {name: np.ascontiguousarray(values[rows], types[name]) for name, values in inputs.items()}
            (vectors,) = self.session.run([self.output], feed)
            found.append(vectors[: n - start].astype(np.float32))
        return np.concatenate(found)


@dataclass(frozen=True, kw_only=True)
class OnnxModel(Model):
    """A model made of ONNX graphs; a tower that was not asked for is None."""

    info: ModelInfo
    preprocess: Preprocess
    image_graph: Graph | None
    text_graph: Graph | None
    texts: TextInputs
    batch_size: int
    files: Sequence[Path] = ()

    def encode(self, modality: str, inputs: Any, role: Role = None) -> Vectors:
        """Return one raw vector an item, in order; each text is padded to the full length."""
        graph = self.text_graph if modality == TEXT else self.image_graph
        assert graph is not None, self.info.id
        if modality != TEXT:
            (name,) = (each.name for each in graph.session.get_inputs())
            return graph.vectors({name: np.asarray(inputs)}, self.batch_size)
        step = self.batch_size
        batches = [list(inputs[start : start + step]) for start in range(0, len(inputs), step)]
        vectors = [graph.vectors(self.texts.tokenize(batch), step) for batch in batches]
        return np.concatenate(vectors) if vectors else np.empty((0, self.info.embed_dim), np.float32)

    def count_tokens(self, texts: Sequence[str]) -> Int64[np.ndarray, " n_texts"]:
        """Return how many tokens each text takes before any is cut off, start and end among them."""
        return self.texts.count(texts)

    def internals(self) -> Internals:
        """Return what the graphs are fed by, and the graphs behind it."""
        images = Internals() if self.image_graph is None else super().internals()
        graph = self.text_graph
        if graph is None:
            return images
        step = self.batch_size
        return replace(images, tokenize=self.texts.tokenize, encode_tokens=lambda tokens: graph.vectors(tokens, step))


def build(folder: Path, graphs: Mapping[Tower, Path], options: LoadOptions) -> OnnxModel:
    """Return the model of one graph a tower.

    Raises:
        UsageError: a device or provider that onnxruntime does not have here.
        ModelError: a graph cannot be read or takes something else, or its processor or tokenizer is not there.
    """
    reference = f"onnx:{folder}"
    provider, device = _provider(options, reference)
    sessions = {tower: _session(path, provider, reference) for tower, path in graphs.items()}
    images, image_graph = ImageInputs(_no_images, "", None), None
    texts, text_graph = TextInputs.none(), None
    if "images" in graphs:
        images = image_inputs(folder, graphs["images"], reference)
        image_graph = _checked_image_graph(sessions["images"], graphs["images"], options.options.get("image_output"))
    if "texts" in graphs:
        path, session = graphs["texts"], sessions["texts"]
        texts = text_inputs(folder, path, _token_length(session, path), reference)
        text_graph = _checked_text_graph(session, path, texts, options.options.get("text_output"))
        texts = texts.restricted_to([each.name for each in session.get_inputs()])
    outputs = [graph.output for graph in (image_graph, text_graph) if graph is not None]
    files = [_digest_with_weights(path) for path in graphs.values()]
    dim, batch_notes = _tried(image_graph, text_graph, images.preprocess, texts, graphs)
    scale, bias = options.logits()
    info = ModelInfo(
        ref=reference,
        id=" ".join([reference, *(f"{key}={value}" for key, value in sorted(options.options.items()))]),
        fingerprint=digest(ADAPTER, *graphs, *files, images.identity, texts.identity, *outputs),
        family="onnx",
        embed_dim=dim,
        context_length=texts.context_length,
        image_size=images.side,
        logit_scale=scale,
        logit_bias=bias,
        n_parameters=None,
        device=device,
        notes=(*texts.notes, *batch_notes),
    )
    return OnnxModel(
        info=info,
        preprocess=images.preprocess,
        image_graph=image_graph,
        text_graph=text_graph,
        texts=texts,
        batch_size=options.n_at_once,
        files=(folder,),
    )


def _provider(options: LoadOptions, reference: str) -> tuple[tuple[str, dict[str, str]], str]:
    """Return onnxruntime's provider with its settings, and the device by name."""
    available = onnxruntime.get_available_providers()
    named = options.options.get("provider")
    if named is not None:
        if named not in available:
            raise UsageError(
                f"model option provider={named}: onnxruntime has none such here: {did_you_mean(named, available)}"
            )
        return (named, {}), named.removesuffix("ExecutionProvider").lower()
    kind, _, number = options.device.partition(":")
    if kind == "auto":
        kind = next((device for device, provider in ACCELERATORS.items() if provider in available), "cpu")
    provider = CPU if kind == "cpu" else ACCELERATORS.get(kind)
    if provider is None or provider not in available:
        raise UsageError(
            f"device '{options.device}' cannot be used for {reference}: onnxruntime has {', '.join(available)} here"
            " (onnxruntime-gpu brings CUDA; --model-option provider=NAME names another)"
        )
    return (provider, {"device_id": number} if number else {}), f"{kind}:{number}" if number else kind


def _session(path: Path, provider: tuple[str, dict[str, str]], reference: str) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what matters is raised
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=[provider])
    except Exception as error:  # onnxruntime has an error class for each status, all below Exception
        raise ModelError(
            f"onnxruntime cannot read {path} ({first_line(error)}): expected a whole ONNX graph, with the files of its"
            " external data beside it"
        ) from error
    used = session.get_providers()[0]
    if used != provider[0]:  # it falls back without an error
        raise UsageError(f"onnxruntime computes {reference} by {used} and not by {provider[0]}: give --device cpu")
    return session


def _checked_image_graph(session: Any, path: Path, output: str | None) -> Graph:
    inputs = session.get_inputs()
    if not (len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].type in PIXELS):
        raise ModelError(
            f"{path} takes {_described(inputs)}: expected pixels alone, floats of shape (n, 3, height, width); a graph of"
            " both towers has to be exported as one graph a tower"
        )
    return Graph(session, _output(session, path, output, "image_output"), _fixed(inputs[0].shape[0]))


def _token_length(session: Any, path: Path) -> int | None:
    """Return the tokens that a text graph is exported for; None where it takes any number.

    Raises:
        ModelError: it takes no token ids.
    """
    inputs = session.get_inputs()
    if not inputs or not all(len(each.shape) == 2 and each.type in TOKENS for each in inputs):
        raise ModelError(
            f"{path} takes {_described(inputs)}: expected token ids, integers of shape (n, length); a graph of both towers"
            " has to be exported as one graph a tower"
        )
    return next((each.shape[1] for each in inputs if isinstance(each.shape[1], int)), None)


def _checked_text_graph(session: Any, path: Path, texts: TextInputs, output: str | None) -> Graph:
    inputs = session.get_inputs()
    unknown = [each.name for each in inputs if each.name not in texts.names]
    if unknown and len(inputs) > 1:
        raise ModelError(
            f"{path} takes {_described(inputs)}: expected nothing but what its tokenizer gives, {', '.join(texts.names)}"
        )
    return Graph(session, _output(session, path, output, "text_output"), _fixed(inputs[0].shape[0]))


def _output(session: Any, path: Path, named: str | None, option: str) -> str:
    outputs = session.get_outputs()
    names = [each.name for each in outputs]
    if named is not None:
        if named not in names:
            raise UsageError(f"model option {option}={named}: {path} has no such output: {did_you_mean(named, names)}")
        return named
    best = next((name for name in OUTPUTS[:-1] if name in names), None)
    rows = [each.name for each in outputs if len(each.shape or ()) == 2]
    if best is None and len(rows) == 1:
        best = rows[0]
    if best is None:
        raise ModelError(
            f"{path} gives {_described(outputs)}: expected one output of a vector a row; name it by --model-option"
            f" {option}=NAME"
        )
    return best


def _tried(
    image_graph: Graph | None,
    text_graph: Graph | None,
    preprocess: Preprocess,
    texts: TextInputs,
    graphs: Mapping[Tower, Path],
) -> tuple[int, tuple[str, ...]]:
    """Return the dimension of the vectors, and notes, after a few images and texts went through the graphs."""
    inputs: dict[Tower, tuple[Graph, Mapping[str, np.ndarray]]] = {}
    if image_graph is not None:
        (name,) = (each.name for each in image_graph.session.get_inputs())
        inputs["images"] = image_graph, {name: stacked([preprocess(image) for image in probe_images()])}
    if text_graph is not None:
        inputs["texts"] = text_graph, texts.tokenize(TEXTS)
    dims, notes = {}, []
    for tower, (graph, arrays) in inputs.items():
        try:
            together, alone = graph.vectors(arrays, len(TEXTS)), graph.vectors(arrays, 1)
        except Exception as error:  # onnxruntime has an error class for each status, all below Exception
            raise ModelError(
                f"{graphs[tower]} does not take what its processor and tokenizer files give ({first_line(error)}): do they"
                " belong to it, and is it exported for any number of rows?"
            ) from error
        if together.ndim != 2:
            raise ModelError(
                f"{graphs[tower]} gives shape {together.shape} for {len(TEXTS)} {tower}: expected one vector each"
            )
        for vectors in (together, alone):
            check_vectors(vectors, str(graphs[tower]))
        dims[tower] = together.shape[1]
        change = np.max(np.linalg.norm(together - alone, axis=1) / np.linalg.norm(alone, axis=1))
        if not change < BATCH_NOISE:
            notes.append(
                f"the vector of one of the {tower} changes by up to {change:.1%} of its length with what else is in its batch,"
                " as dynamic quantisation does: compare runs of one batch size"
            )
    if len(set(dims.values())) != 1:
        raise ModelError(
            f"the towers give vectors of different dimensions ({', '.join(f'{tower} {dim}' for tower, dim in dims.items())}):"
            " are these the projected ones? name others by --model-option image_output=NAME or"
            " --model-option text_output=NAME"
        )
    return next(iter(dims.values())), tuple(notes)


def _digest_with_weights(path: Path) -> str:
    """Return a hash of a graph and of the files of weights that may belong to it."""
    others = [
        each
        for each in entries(path.parent, ModelError)
        if is_file(each) and each.suffix not in (".onnx", ".json", ".txt", ".md", ".model", ".safetensors")
    ]
    return digest(*map(file_digest, [path, *others]))


def _fixed(size: object) -> int | None:
    return size if isinstance(size, int) else None


def _described(ports: Sequence[Any]) -> str:
    return ", ".join(f"{each.name} {each.type}{list(each.shape or [])}" for each in ports) or "nothing"


def _no_images(image: Image.Image) -> Float32[np.ndarray, "channels height width"]:
    raise AssertionError("the tower of images was not asked for")
