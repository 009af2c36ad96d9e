"""Twenty-four small pictures with captions and classes, to try every command with: drawn here, so that they are free.

Six things in four kinds of light, of several sizes and formats. One is stored lying on its side, with the turn in its
EXIF data, and one ends too early, as after an interrupted copy. The table ``captions.csv`` has the whole ones, and
``all.csv`` the broken one too.
"""

import csv
import io
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clipbench.errors import UsageError
from clipbench.files import write_errors
from clipbench.seeding import generator
from clipbench.untrusted.reading import is_there

TABLE, TABLE_OF_ALL, QUERIES, LICENCE = "captions.csv", "all.csv", "queries.txt", "LICENCE.txt"
LICENCE_TEXT = "These pictures, captions and queries are drawn and written by clipbench: CC0 1.0, free for any use.\n"
LYING, BROKEN = "boat-sunset", "fish-fog"
"""Names of the picture with a turn in its EXIF data, and of the one that ends too early."""
ROTATED = 6
"""Orientation of EXIF: to be turned by 90 degrees, clockwise."""
GRAIN = 6.0
"""Standard deviation of the grain, of 255."""
Colour = tuple[int, int, int]


class Light(NamedTuple):
    """The light of a picture, with its words in English, German and Swahili."""

    name: str
    english: str
    german: str
    swahili: str
    sky: tuple[Colour, Colour]
    """Colours of the sky above and at the horizon."""
    ground: Colour
    brightness: float
    """Factor of the colours of things."""
    fog: float = 0.0
    """Part of the picture that is hidden by grey."""


LIGHTS = (
    Light("day", "by day", "am Tag", "mchana", ((90, 150, 225), (205, 225, 245)), (96, 142, 72), 1.0),
    Light("sunset", "at sunset", "bei Sonnenuntergang", "machweo", ((95, 70, 130), (250, 150, 80)), (84, 78, 58), 0.75),
    Light("fog", "in fog", "im Nebel", "kwenye ukungu", ((185, 190, 195), (205, 208, 210)), (150, 158, 150), 0.9, 0.5),
    Light("night", "at night", "in der Nacht", "usiku", ((8, 10, 32), (32, 36, 70)), (20, 26, 24), 0.35),
)


class Pen(NamedTuple):
    """Draws in coordinates from 0 to 1 on a square in the middle of a picture."""

    canvas: ImageDraw.ImageDraw
    left: float
    top: float
    side: float

    def points(self, *coordinates: float) -> list[tuple[float, float]]:
        """Return pixels of pairs of coordinates."""
        pairs = zip(coordinates[::2], coordinates[1::2], strict=True)
        return [(self.left + x * self.side, self.top + y * self.side) for x, y in pairs]

    def polygon(self, colour: Colour, *coordinates: float) -> None:
        """Fill a polygon of pairs of coordinates."""
        self.canvas.polygon(self.points(*coordinates), fill=colour)

    def ellipse(self, colour: Colour, *box: float) -> None:
        """Fill the ellipse in a box: left, top, right, bottom."""
        self.canvas.ellipse(self.points(*box), fill=colour)

    def box(self, colour: Colour, *box: float) -> None:
        """Fill a box: left, top, right, bottom."""
        self.canvas.rectangle(self.points(*box), fill=colour)


def _house(pen: Pen) -> None:
    pen.box((214, 196, 160), 0.15, 0.45, 0.85, 0.95)
    pen.polygon((160, 64, 50), 0.08, 0.47, 0.5, 0.1, 0.92, 0.47)
    pen.box((110, 70, 44), 0.44, 0.65, 0.58, 0.95)
    for x in (0.23, 0.67):
        pen.box((250, 232, 150), x, 0.55, x + 0.13, 0.7)


def _tree(pen: Pen) -> None:
    pen.polygon((98, 66, 40), 0.44, 0.95, 0.47, 0.5, 0.53, 0.5, 0.57, 0.95)
    for x, y in ((0.2, 0.25), (0.45, 0.22), (0.32, 0.05), (0.3, 0.35)):
        pen.ellipse((54, 120, 50), x, y, x + 0.36, y + 0.34)


def _boat(pen: Pen) -> None:
    pen.box((48, 92, 150), -2, 0.82, 3, 3)
    pen.polygon((120, 54, 40), 0.1, 0.72, 0.9, 0.72, 0.75, 0.9, 0.25, 0.9)
    pen.box((70, 50, 36), 0.48, 0.05, 0.5, 0.72)
    pen.polygon((244, 240, 228), 0.52, 0.08, 0.52, 0.66, 0.88, 0.66)
    pen.polygon((226, 216, 196), 0.46, 0.18, 0.46, 0.66, 0.16, 0.66)


def _car(pen: Pen) -> None:
    pen.polygon(
        (190, 34, 40), 0.02, 0.62, 0.2, 0.58, 0.32, 0.4, 0.68, 0.4, 0.8, 0.58, 0.98, 0.64, 0.98, 0.82, 0.02, 0.82
    )
    pen.polygon((176, 208, 226), 0.27, 0.57, 0.35, 0.44, 0.48, 0.44, 0.48, 0.57)
    pen.polygon((176, 208, 226), 0.52, 0.44, 0.65, 0.44, 0.74, 0.57, 0.52, 0.57)
    for x in (0.15, 0.66):
        pen.ellipse((24, 24, 26), x, 0.72, x + 0.2, 0.92)
        pen.ellipse((170, 170, 174), x + 0.06, 0.78, x + 0.14, 0.86)


def _mug(pen: Pen) -> None:
    pen.box((146, 104, 66), -2, 0.88, 3, 3)
    pen.ellipse((60, 110, 176), 0.6, 0.38, 0.92, 0.76)
    pen.ellipse((205, 214, 222), 0.67, 0.45, 0.85, 0.69)
    pen.box((60, 110, 176), 0.2, 0.3, 0.72, 0.86)
    pen.ellipse((60, 110, 176), 0.2, 0.8, 0.72, 0.95)
    pen.ellipse((84, 52, 30), 0.2, 0.22, 0.72, 0.38)


def _fish(pen: Pen) -> None:
    pen.box((30, 110, 140), -2, -2, 3, 3)
    pen.polygon((236, 136, 42), 0.68, 0.5, 0.96, 0.3, 0.96, 0.7)
    pen.ellipse((240, 150, 48), 0.06, 0.3, 0.78, 0.7)
    for x in (0.3, 0.5):
        pen.box((250, 244, 232), x, 0.33, x + 0.06, 0.67)
    pen.ellipse((20, 20, 24), 0.15, 0.42, 0.21, 0.48)


class Thing(NamedTuple):
    """What a picture shows, with its words, the kind of place, and the size and format of its pictures."""

    name: str
    english: str
    german: str
    swahili: str
    region: str
    draw: Callable[[Pen], None]
    size: tuple[int, int]
    """Width and height in pixels."""
    ending: str


THINGS = (
    Thing("house", "a house", "ein Haus", "nyumba", "town", _house, (320, 240), "jpg"),
    Thing("tree", "a tree", "ein Baum", "mti", "country", _tree, (240, 320), "png"),
    Thing("boat", "a sailing boat", "ein Segelboot", "mashua", "coast", _boat, (300, 300), "jpg"),
    Thing("car", "a red car", "ein rotes Auto", "gari jekundu", "town", _car, (480, 160), "webp"),
    Thing("mug", "a blue mug", "eine blaue Tasse", "kikombe cha bluu", "home", _mug, (96, 128), "gif"),
    Thing("fish", "an orange fish", "ein orangefarbener Fisch", "samaki wa chungwa", "coast", _fish, (260, 180), "jpg"),
)  # fmt: skip


class SamplePicture(NamedTuple):
    """One picture of the sample."""

    thing: Thing
    light: Light

    @property
    def name(self) -> str:
        """Name without the ending, such as ``boat-sunset``."""
        return f"{self.thing.name}-{self.light.name}"

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}.{self.thing.ending}"

    @property
    def caption(self) -> str:
        """Caption in English."""
        return f"{self.thing.english} {self.light.english}"


PICTURES = tuple(SamplePicture(thing, light) for thing, light in product(THINGS, LIGHTS))


def write_sample(folder: Path) -> list[Path]:
    """Write the sample into a new folder, and return the files.

    Raises:
        UsageError: the folder exists.
        MachineError: a file cannot be written.
    """
    if is_there(folder):
        raise UsageError(f"{folder} already exists: name a new folder")
    tables = {
        TABLE: [photograph for photograph in PICTURES if photograph.name != BROKEN],
        TABLE_OF_ALL: list(PICTURES),
    }
    files = {photograph.file: _content(photograph) for photograph in PICTURES}
    files |= {name: _table(photographs).encode() for name, photographs in tables.items()}
    files[QUERIES] = "".join(f"{query}\n" for query in _queries()).encode()
    files[LICENCE] = LICENCE_TEXT.encode()
    with write_errors(folder):
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return [folder / name for name in files]


def _queries() -> Iterator[str]:
    """Yield queries that several photographs answer, and some that one does."""
    yield from (thing.english for thing in THINGS)
    yield from (f"something {light.english}" for light in LIGHTS)
    yield from (photograph.caption for photograph in PICTURES[::5])


def _table(photographs: list[SamplePicture]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "caption", "label", "region", "en", "de", "sw"])
    for photograph in photographs:
        thing, light = photograph
        german = f"{thing.german} {light.german}"
        swahili = f"{thing.swahili} {light.swahili}"
        writer.writerow(
            [photograph.file, photograph.caption, thing.name, thing.region, photograph.caption, german, swahili]
        )
    return text.getvalue()


def _content(photograph: SamplePicture) -> bytes:
    """Return the file of a photograph."""
    image = draw(photograph)
    exif = Image.Exif()
    if photograph.name == LYING:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = ROTATED
    file = io.BytesIO()
    kind = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF"}[photograph.thing.ending]
    image.save(file, kind, **({"exif": exif} if len(exif) else {}))
    content = file.getvalue()
    return content[: len(content) // 2] if photograph.name == BROKEN else content


def draw(photograph: SamplePicture) -> Image.Image:
    """Return a picture: the thing before sky and ground, in its light, a little blurred and with grain."""
    thing, light = photograph
    width, height = thing.size
    top, horizon = (np.array(colour, np.float64) for colour in light.sky)
    depth = np.linspace(0, 1, height)[:, None, None]
    sky = np.broadcast_to(top + depth * (horizon - top), (height, width, 3))
    image = Image.fromarray(np.rint(sky).astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0.75 * height, width, height), fill=light.ground)

    drawn = image.copy()
    side = 0.84 * min(width, height)
    pen = Pen(ImageDraw.Draw(drawn), (width - side) / 2, (height - side) / 2, side)
    thing.draw(pen)
    is_drawn = (np.asarray(drawn) != np.asarray(image)).any(axis=2, keepdims=True)
    pixels = np.where(is_drawn, light.brightness * np.asarray(drawn), np.asarray(image))
    pixels = pixels + light.fog * (200 - pixels)

    blurred = Image.fromarray(np.rint(pixels).astype(np.uint8)).filter(ImageFilter.GaussianBlur(side / 200))
    grain = generator(0, "sample", photograph.name).normal(0, GRAIN, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(blurred) + grain, 0, 255).astype(np.uint8))
