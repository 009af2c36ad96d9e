"""Miniatures of the data sets of the catalogue, in the form in which each is published, for a Hub on this machine.

``mirror`` puts them on a ``hub_server.Hub`` and returns a catalogue that differs from clipbench's in nothing but this:
it knows neither sizes nor published prompts, and the files outside the Hub lie on the same server.
"""

import csv
import io
import json
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import cycle, pairwise
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

COUNTS = ("size", "shards", "n_images", "n_captions", "n_items", "n_classes", "sha256", "revision", "prompts")
"""Fields of a catalogue that are of the true data alone."""
FILES = "files"
"""Folder of the server for what lies outside the Hub."""
TWO_IMAGES = {"winoground": ("image_0", "image_1", "caption_0", "caption_1"),
              "colorswap": ("image_1", "image_2", "caption_1", "caption_2"),
              "bivlc": ("image", "negative_image", "caption", "negative_caption")}  # fmt: skip
"""Columns of the data sets in which a row has two images and two captions."""


def mirror(hub: Any, names: Sequence[str] = (), *, n: int = 12, n_shards: int = 2) -> str:
    """Put miniatures of some data sets of the catalogue, or of all, on a Hub, and return their catalogue.

    Args:
        hub: a ``hub_server.Hub``.
        names: the data sets; empty for all that can be fetched.
        n: samples of each.
        n_shards: files that a webdataset or a parquet set is spread over.
    """
    tables = tomllib.loads(files("clipbench.data.catalogue").joinpath("catalogue.toml").read_text(encoding="utf-8"))
    chosen = {name: tables[name] for name in names or tables}
    for index, (name, table) in enumerate(chosen.items()):
        table.update({"source": [_without_counts(source) for source in table["source"]]})
        for count in COUNTS:
            table.pop(count, None)
        source = next((each for each in table["source"] if each["form"] in MAKERS), None)
        if source is not None:
            content = MAKERS[source["form"]](name, table, source, _Maker(index, n, n_shards))
            _put(hub, name, source, content)
    return "\n".join(_as_toml(name, table) for name, table in chosen.items())


class _Maker:
    """Makes images and captions, others for each data set."""

    def __init__(self, seed: int, n: int, n_shards: int) -> None:
        self.n, self.n_shards = n, n_shards
        self._rng = np.random.default_rng(seed)
        self.kinds = ["apple", "bridge", "candle", "dolphin", "engine", "feather"]

    def image(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self._rng.integers(0, 256, (24, 32, 3), np.uint8)).save(buffer, "jpeg")
        return buffer.getvalue()

    def caption(self, number: int, wording: int = 0) -> str:
        kind, other = self.kinds[number % 6], self.kinds[(number // 6 + number + 1) % 6]
        return f"{['a', 'one', 'some', 'any', 'that'][wording]} {kind} beside {other} number {number} on a grey table"

    def shards(self) -> Iterator[range]:
        """Yield the numbers of the samples of each shard."""
        bounds = [self.n * shard // self.n_shards for shard in range(self.n_shards + 1)]
        return (range(first, last) for first, last in pairwise(bounds))


def _webdataset(name: str, table: Mapping[str, Any], source: Mapping[str, Any], make: _Maker) -> dict[str, bytes]:
    split, is_retrieval = source["split"], table["kind"] == "retrieval"
    content = {f"{split}/nshards.txt": str(make.n_shards).encode(), "train/0.tar": b"not asked for"}
    if is_retrieval:
        content["dataset_type.txt"] = b"retrieval"
    elif name == "fairface":
        classes = {"age": ("0-2", "3-9"), "gender": ("man", "woman"), "race": ("black", "white", "indian")}
        lines = [f"{objective}:{index}" for objective, names in classes.items() for index in names]
        content["classnames.txt"] = "\n".join([*lines, "toxic:thief"]).encode()
        templates = ("age:a photo of a person {c} years old", "gender:a photo of a {c}", "race:a photo of a {c} person")
        content["zeroshot_classification_templates.txt"] = "\n".join([*templates, "toxic:a photo of a {c}"]).encode()
    else:
        content["classnames.txt"] = "\n".join(make.kinds).encode()
    for shard, numbers in enumerate(make.shards()):
        members = {}
        for number in numbers:
            members[f"s{number:07}.jpg"] = make.image()
            if is_retrieval:
                members[f"s{number:07}.txt"] = "\n".join(make.caption(number, index) for index in range(5)).encode()
            else:
                members[f"s{number:07}.cls"] = str(number % len(make.kinds)).encode()
                where = [number % 2, 0] if name != "fairface" else [0, number % 2, number % 3, int(number % 3 != 1)]
                members[f"s{number:07}.npy"] = npy_of(where)  # where an image is from, as DataComp's data say
        content[f"{split}/{shard}.tar"] = tar_of(members)
    return content


def _parquet(name: str, table: Mapping[str, Any], source: Mapping[str, Any], make: _Maker) -> dict[str, bytes]:
    rows = _columns(name, table, source, make)
    split, content = source.get("split") or "test", {}
    for shard, numbers in enumerate(make.shards()):
        part = {column: [values[number] for number in numbers] for column, values in rows.items()}
        path = f"data/{split}-{shard:05}-of-{make.n_shards:05}.parquet"
        if "files" in source:  # such as cropped_digits/test*
            path = source["files"][0].replace("*", f"-{shard:05}-of-{make.n_shards:05}.parquet")
        content[path] = _parquet_file(part)
    return content


def _columns(name: str, table: Mapping[str, Any], source: Mapping[str, Any], make: _Maker) -> dict[str, list[Any]]:
    """Return the columns of a parquet set under the names that its authors gave them."""
    if name in OF_PARQUET:
        return OF_PARQUET[name](make)
    n, captions = range(make.n), [make.caption(number) for number in range(make.n)]
    false = [make.caption(number, 1) for number in n]
    if name in TWO_IMAGES:
        first, second, true, other = TWO_IMAGES[name]
        return {first: _images(make), second: _images(make), true: captions, other: false, "type": ["swap"] * make.n}
    if name.endswith("-order"):
        shuffles = {f"hard_text_{parts}": [" ".join(make.caption(number, parts).split()[::-1]) for number in n]
                    for parts in range(1, 5)}  # fmt: skip
        return {"images": _images(make), "correct_caption": captions, **shuffles}
    if table["kind"] == "contrasts":
        box = {"x": 2.0, "y": 1.0, "w": 24.0, "h": 20.0}
        group = {"attributes": [["red", "old"]]} if name.endswith("attribution") else {"relation_name": ["left of"]}
        return {"image": _images(make), "true_caption": captions, "false_caption": false, "bbox": [box] * make.n,
                **{column: values * make.n for column, values in group.items()}}  # fmt: skip
    names = source["columns"]
    if table["kind"] == "retrieval":
        parts = names["caption"].split(",")
        return {names["image"]: _images(make), **{c: [make.caption(k, i) for k in n] for i, c in enumerate(parts)}}
    return {names["image"]: _images(make), names["label"]: [number % len(make.kinds) for number in n]}


def _scam(make: _Maker) -> dict[str, list[Any]]:
    """Return three versions of each photograph."""
    n = range(make.n)
    return {"image": _images(make), "id": [str(number // 3) for number in n],
            "type": [("NoSCAM", "SCAM", "SynthSCAM")[number % 3] for number in n],
            "object_label": [f"thing {number // 3}" for number in n], "attack_word": ["sun"] * make.n}  # fmt: skip


def _countbench(make: _Maker) -> dict[str, list[Any]]:
    """Return captions with numbers from two on, in turn with a capital and in small letters."""
    words = ("Two", "three", "Four", "five")
    texts = [f"{words[number % 4]} of {make.caption(number)}" for number in range(make.n)]
    numbers = [np.int32(2 + number % 4) for number in range(make.n)]
    return {"image": _images(make), "text": texts, "question": ["How many?"] * make.n, "number": numbers}


OF_PARQUET = {"scam": _scam, "countbench": _countbench}


def _archive(name: str, table: Mapping[str, Any], source: Mapping[str, Any], make: _Maker) -> dict[str, bytes]:
    if name in OF_ARCHIVES:
        return OF_ARCHIVES[name](make)
    if name != "urban-1k":
        return {source["files"][0].replace("*", ""): zip_of(_plain(table, make))}
    members = {}
    for number in range(make.n):
        members[f"Urban1k/image/{number}.jpg"] = make.image()
        members[f"Urban1k/caption/{number}.txt"] = f"{_paragraph(make, number)}\nA second line.\n".encode()
    return {source["files"][0]: zip_of(members)}


def _plain(table: Mapping[str, Any], make: _Maker) -> dict[str, bytes]:
    """Return images and a manifest of what their kind needs, for data sets whose own files no test looks into."""
    rows = []
    for number in range(make.n):
        true, false, kind = make.caption(number), make.caption(number, 1), make.kinds[number % 6]
        fields: dict[str, dict[str, object]] = {
            "classification": {"label": kind},
            "retrieval": {"caption": true},
            "contrasts": {"true": true, "false": [false]},
            "attacks": {"object": kind, "text": make.kinds[(number + 1) % 6], "attack": "1"},
        }
        rows.append({"image": f"{number}.jpg", **fields[table["kind"]]})
    manifest = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return {"manifest.jsonl": manifest, **{f"{number}.jpg": make.image() for number in range(make.n)}}


def _winogavil(make: _Maker) -> dict[str, bytes]:
    """Return cues with 5 or 10 images each, of which the first two belong to it."""
    images: dict[str, bytes] = {}
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["ID", "cue", "candidates", "associations"])
    for number, size in zip(range(make.n), cycle((5, 10)), strict=False):
        names = [f"{number}-{index}" for index in range(size)]
        writer.writerow([number, make.kinds[number % 6], json.dumps(names), json.dumps(names[:2])])
        images |= {f"winogavil_images/{name}.jpg": make.image() for name in names}
    return {"winogavil_dataset.csv": table.getvalue().encode(), "winogavil_images.zip": zip_of(images)}


def _mmvp(make: _Maker) -> dict[str, bytes]:
    """Return two rows of a table for each pair of images, in folders called by their visual pattern."""
    rows = ["Question ID,Type,Statement"]
    images = {}
    for number in range(2 * make.n):
        kind = ("Orientation", "Color and Appearance")[number // make.n]
        rows.append(f'{number + 1},{kind},"{make.caption(number)}"')
        images[f"MLLM_VLM Images/{kind}/{number + 1}.jpg"] = make.image()
    return {"Questions.csv": "\r\n".join(rows).encode(), **images}


def _spec(make: _Maker) -> dict[str, bytes]:
    """Return two subsets with two images and texts an item, in both directions."""
    members = {}
    for subset in ("count", "existence"):
        keys = [[f"images/{number}_{side}.jpg" for side in "ab"] for number in range(make.n)]
        texts = [[make.caption(number), make.caption(number, 1)] for number in range(make.n)]
        to_text = [{"query": keys[k][k % 2], "keys": texts[k], "label": k % 2} for k in range(make.n)]
        to_image = [{"query": texts[k][k % 2], "keys": keys[k], "label": k % 2} for k in range(make.n)]
        members[f"{subset}/image2text.json"] = json.dumps(to_text).encode()
        members[f"{subset}/text2image.json"] = json.dumps(to_image).encode()
        members |= {f"{subset}/{name}": make.image() for pair in keys for name in pair}
    return {"data.zip": zip_of(members)}


OF_ARCHIVES = {"winogavil": _winogavil, "mmvp-vlm": _mmvp, "spec": _spec}


def _crepe(make: _Maker) -> dict[str, bytes]:
    """Return a table for each kind and complexity, with boxes, and Visual Genome's images in its two archives."""
    tables = {}
    for kind in ("atom", "swap", "negate"):
        for complexity in (4, 5):
            table = io.StringIO()
            writer = csv.writer(table)
            writer.writerow(["image_id", "caption", "hard_negs", "x", "y", "width", "height"])
            for number in range(make.n):
                false = [make.caption(number, wording) for wording in range(1, 5)]
                writer.writerow([number, make.caption(number), repr(false), 2, 1, 24, 20])
            name = f"prod_hard_negatives/{kind}/prod_vg_hard_negs_{kind}_complexity_{complexity}.csv"
            tables[name] = table.getvalue().encode()
    folders = {"images.zip": "VG_100K", "images2.zip": "VG_100K_2"}
    images = {archive: zip_of({f"{folder}/{number}.jpg": make.image() for number in range(make.n) if number % 2 == index})
              for index, (archive, folder) in enumerate(folders.items())}  # fmt: skip
    return {"prod_hard_negatives.zip": zip_of(tables), **images}


def _crepe_systematicity(make: _Maker) -> dict[str, bytes]:
    """Return a table for seen and one for unseen compounds, with three columns of hard negatives."""
    kinds = {"atom": (1, 2), "comp": (3,), "combined": (1, 2, 3)}
    tables = {}
    for split in ("seen", "unseen"):
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(
            ["image_id", "caption", *(f"valid_hard_negs_{kind}" for kind in kinds), "x", "y", "width", "height"]
        )
        for number in range(make.n):
            cells = [repr([make.caption(number, wording) for wording in each]) for each in kinds.values()]
            writer.writerow([number, make.caption(number), *cells, 2, 1, 24, 20])
        tables[f"syst_hard_negatives/syst_vg_hard_negs_{split}_compounds_in_laion.csv"] = table.getvalue().encode()
    images = {"images.zip": zip_of({f"VG_100K/{number}.jpg": make.image() for number in range(make.n)})}
    return {"syst_hard_negatives.zip": zip_of(tables), **images, "images2.zip": zip_of({"VG_100K_2/x.txt": b""})}


def _xm3600(make: _Maker) -> dict[str, bytes]:
    """Return two captions of each image in each of three languages."""
    rows = [{"image/key": f"{number:016x}", "image/locale": "sw",
             **{language: {"caption": [f"{language} {make.caption(number, index)}" for index in range(2)]}
                for language in ("de", "en", "sw")}} for number in range(make.n)]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    images = tar_of({f"{row['image/key']}.jpg": make.image() for row in rows}, mode="w:gz")
    return {"captions.zip": zip_of({"captions.jsonl": lines}), "images.tgz": images}


def _caption_lines(make: _Maker, language: str) -> bytes:
    return "".join(f"{language} {make.caption(number)}\n" for number in range(make.n)).encode()


def _xtd10(make: _Maker) -> dict[str, bytes]:
    names = [f"COCO_train2014_{number:012}.jpg" for number in range(make.n)]
    languages = ("de", "en", "es", "fr", "it", "jp", "ko", "pl", "ru", "tr", "zh")
    captions = {f"test_1kcaptions_{language}.txt": _caption_lines(make, language) for language in languages}
    images = tar_of({f"XTD10_dataset/{name}": make.image() for name in names}, mode="w:gz")
    return {"test_image_names.txt": "\n".join(names).encode(), **captions, "XTD10_dataset.tar.gz": images}


def _flickr30k_200(make: _Maker, archive: str) -> dict[str, bytes]:
    folder, names = f"nllb-clip-{archive.removesuffix('.zip')}/data/flickr30k-200", [f"{k}.jpg" for k in range(make.n)]
    languages = ("deu_Latn", "eng_Latn", "swh_Latn")
    members = {f"{folder}/{language}.txt": _caption_lines(make, language) for language in languages}
    members |= {f"{folder}/eng_captions.txt": _caption_lines(make, "of people"),
                f"{folder}/filenames.txt": "\n".join(names).encode()}  # fmt: skip
    images = tar_of({f"images/{name}": make.image() for name in names}, mode="w:gz")
    return {archive: zip_of(members), "images.tar.gz": images}


def _babel_imagenet(make: _Maker) -> dict[str, bytes]:
    """Return names of some classes in four languages, one of which has no templates."""
    names = {"EN": [[*range(6)], make.kinds], "DE": [[0, 2, 5], ["Apfel", "Kerze", "Feder"]],
             "SW": [[1, 2, 3], ["daraja", "mshumaa", "pomboo"]], "BR": [[0, 1], ["aval", "pont"]]}  # fmt: skip
    templates = {"EN": ["a photo of a {} ."], "DE": ["ein Foto von  {} .", "viele  {} ."], "SW": ["picha ya  {} ."]}
    tables = {"babel_imagenet-298.json": names, "nllb_dist13b_prompts.json": templates}
    return {name: json.dumps(table).encode() for name, table in tables.items()}


def _imagenet_real(make: _Maker) -> dict[str, bytes]:
    """Return right classes of each image of ``_webdataset``: of every fourth image none, of every third one more."""
    values = [number % len(make.kinds) for number in range(make.n)]
    classes = [[] if number % 4 == 3 else [label, 5][: 1 + (number % 3 == 0)] for number, label in enumerate(values)]
    synsets = "".join(f"n{label:08}\n" for label in values)
    return {"real.json": json.dumps(classes).encode(), "imagenet_2012_validation_synset_labels.txt": synsets.encode()}


OF_URLS = {"crepe": _crepe, "crepe-systematicity": _crepe_systematicity, "xm3600": _xm3600, "xm3600-first": _xm3600,
           "xtd-10": _xtd10, "babel-imagenet": _babel_imagenet, "imagenet-real": _imagenet_real}  # fmt: skip


def _urls(name: str, table: Mapping[str, Any], source: Mapping[str, Any], make: _Maker) -> dict[str, bytes]:
    """Return the files by the last part of their address."""
    if name == "docci":
        rows = [{"example_id": f"test_{number:05}", "split": "test", "image_file": f"test_{number:05}.jpg",
                 "description": _paragraph(make, number)} for number in range(make.n)]  # fmt: skip
        images = {f"images/test_{number:05}.jpg": make.image() for number in range(make.n)}
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return {"docci_descriptions.jsonlines": lines, "docci_images.tar.gz": tar_of(images, mode="w:gz")}
    if name in OF_URLS:
        return OF_URLS[name](make)
    if name == "flickr30k-200":
        return _flickr30k_200(make, PurePosixPath(urlsplit(source["urls"][0]["url"]).path).name)
    if name != "sugarcrepe":
        first, *names = [PurePosixPath(urlsplit(file["url"]).path).name for file in source["urls"]]
        return {
            first: tar_of(_plain(table, make)) if ".tar" in first else zip_of(_plain(table, make)),
            **dict.fromkeys(names, b""),
        }
    subsets = [path for path in (PurePosixPath(urlsplit(file["url"]).path).name for file in source["urls"])]
    content = {}
    for index, subset in enumerate(subset for subset in subsets if subset.endswith(".json")):
        items = {str(number): {"filename": f"{number:012}.jpg", "caption": make.caption(number),
                               "negative_caption": make.caption(number + index + 1, 1)} for number in range(make.n)}  # fmt: skip
        content[subset] = json.dumps(items).encode()
    return {**content, "val2017.zip": zip_of({f"val2017/{number:012}.jpg": make.image() for number in range(make.n)})}


MAKERS = {"webdataset": _webdataset, "parquet": _parquet, "archive": _archive, "urls": _urls}


def _put(hub: Any, name: str, source: dict[str, Any], content: Mapping[str, bytes]) -> None:
    if "hub" in source:
        hub.add(source["hub"], dict(content))
        if source.get("is_gated"):
            hub.gated.add(source["hub"])
        return
    for file in source["urls"]:
        path = f"{FILES}/{name}/{PurePosixPath(urlsplit(file['url']).path).name}"
        (hub.root / path).parent.mkdir(parents=True, exist_ok=True)
        (hub.root / path).write_bytes(content[PurePosixPath(path).name])
        file["url"] = f"{hub.address}/{path}"


def _without_counts(source: Mapping[str, Any]) -> dict[str, Any]:
    other_fields = {key: value for key, value in source.items() if key not in COUNTS}
    if "urls" in other_fields:
        other_fields["urls"] = [
            {key: value for key, value in file.items() if key not in COUNTS} for file in other_fields["urls"]
        ]
    return other_fields


def _paragraph(make: _Maker, number: int) -> str:
    return ". ".join(make.caption(number + step, step % 5).capitalize() for step in range(8)) + "."


def _images(make: _Maker) -> list[dict[str, Any]]:
    return [{"bytes": make.image(), "path": None} for _ in range(make.n)]


def _parquet_file(columns: Mapping[str, list[Any]]) -> bytes:
    import datasets

    features = datasets.Dataset.from_dict(dict(columns)).features
    for column, values in columns.items():
        if isinstance(values[0], dict) and "bytes" in values[0]:
            features[column] = datasets.Image()
        elif isinstance(values[0], int):
            features[column] = datasets.ClassLabel(names=[f"thing {number}" for number in range(max(values) + 1)])
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(dict(columns), features=features).to_parquet(buffer)
    return buffer.getvalue()


def npy_of(values: Sequence[float]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(values))
    return buffer.getvalue()


def tar_of(members: Mapping[str, bytes], mode: Any = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def shard_of(samples: Sequence[Mapping[str, bytes]], start: int = 0) -> bytes:
    """Return a tar of samples, each the contents of its members by their extensions."""
    numbered = enumerate(samples, start)
    return tar_of({f"s{n:07}.{kind}": content for n, sample in numbered for kind, content in sample.items()})


def zip_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _as_toml(name: str, table: Mapping[str, Any]) -> str:
    sources = "".join(f"[[{name}.source]]\n{_pairs(source)}" for source in table["source"])
    return f"[{name}]\n{_pairs({key: value for key, value in table.items() if key != 'source'})}{sources}"


def _pairs(values: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    """Return a value as TOML, whose texts, numbers and lists are written as JSON's are."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
