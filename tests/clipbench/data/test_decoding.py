"""Every mode that Pillow opens becomes the pixels that docs/images.md states, or is refused by name."""

import io
import os
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from clipbench.data.images import (
    FORMATS,
    FileImage,
    Reading,
    as_rgb,
    decode,
    examine,
    image_size,
    reading_notes,
    reading_of,
)
from clipbench.data.memory import BytesImage, DecodedImage
from clipbench.errors import BadImage, UsageError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (24, 20, 3), np.uint8)
GREY = RNG.integers(0, 256, (24, 20), np.uint8)
ALPHA = RNG.integers(0, 256, (24, 20), np.uint8)
DEEP = np.concatenate([[0, 1, 128, 129, 256, 257, 32_767, 65_535], RNG.integers(0, 65_536, 392)]).astype(np.uint16)
DEEP = DEEP.reshape(20, 20)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def as_pillow(data: bytes) -> np.ndarray:
    """Return what CLIP_benchmark, torchvision and webdataset make of an image."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def pixels(data: bytes) -> np.ndarray:
    image = decode(data, "x")
    assert image.mode in ("RGB", "L")
    return np.asarray(image.convert("RGB"))


RGB_IMAGE, GREY_IMAGE = Image.fromarray(COLOURS), Image.fromarray(GREY)
WITH_ALPHA = Image.merge("RGBA", [*RGB_IMAGE.split(), Image.fromarray(ALPHA)])
PALETTE = RGB_IMAGE.quantize(16)


@pytest.mark.parametrize(
    "data",
    [
        encoded(RGB_IMAGE, "PNG"),
        encoded(RGB_IMAGE, "JPEG"),
        encoded(RGB_IMAGE, "BMP"),
        encoded(RGB_IMAGE, "WEBP", lossless=True),
        encoded(RGB_IMAGE, "PPM"),
        encoded(RGB_IMAGE, "TIFF"),
        encoded(RGB_IMAGE, "JPEG2000"),
        encoded(GREY_IMAGE, "PNG"),
        encoded(GREY_IMAGE, "JPEG"),
        encoded(GREY_IMAGE, "PPM"),
    ],
)
def test_plain_images_are_as_pillow_opens_them_in_their_mode(data: bytes) -> None:
    opened, ours = Image.open(io.BytesIO(data)), decode(data, "x")
    assert ours.mode == opened.mode and np.array_equal(np.asarray(ours), np.asarray(opened))
    assert reading_of(data) == ((), False)


REFUSED_BEFORE_13 = pytest.mark.skipif(
    int(PIL.__version__.partition(".")[0]) < 13, reason="older versions of Pillow say that the file is truncated"
)


@pytest.mark.parametrize(
    ("data", "remarks"),
    [
        (encoded(GREY_IMAGE.convert("1"), "PNG"), ()),
        (encoded(PALETTE, "PNG"), ()),
        (encoded(PALETTE, "GIF"), ()),
        (encoded(WITH_ALPHA, "PNG"), ("alpha",)),
        (encoded(WITH_ALPHA, "WEBP", lossless=True, exact=True), ("alpha",)),
        (encoded(WITH_ALPHA, "TIFF"), ("alpha",)),
        (encoded(Image.merge("LA", [GREY_IMAGE, Image.fromarray(ALPHA)]), "PNG"), ("alpha",)),
        (encoded(PALETTE, "PNG", transparency=3), ("alpha",)),
        (encoded(PALETTE, "PNG", transparency=bytes(range(0, 160, 10))), ("alpha",)),
        (encoded(PALETTE, "GIF", transparency=3), ("alpha",)),
        (encoded(RGB_IMAGE.convert("CMYK"), "JPEG"), ("colours",)),
        (encoded(RGB_IMAGE.convert("CMYK"), "TIFF"), ("colours",)),
        pytest.param(encoded(RGB_IMAGE.convert("YCbCr"), "TIFF"), ("colours",), marks=REFUSED_BEFORE_13),
        (encoded(RGB_IMAGE, "GIF", save_all=True, append_images=[Image.new("RGB", (20, 24))]), ("first",)),
        (encoded(RGB_IMAGE, "PNG", save_all=True, append_images=[Image.new("RGB", (20, 24))]), ("first",)),
        (encoded(RGB_IMAGE, "WEBP", save_all=True, append_images=[Image.new("RGB", (20, 24))]), ("first",)),
        (encoded(RGB_IMAGE, "TIFF", save_all=True, append_images=[Image.new("RGB", (20, 24))]), ("first",)),
    ],
)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_all_that_pillow_converts_rightly_is_converted_so_and_counted(data: bytes, remarks: tuple[str, ...]) -> None:
    assert np.array_equal(pixels(data), as_pillow(data))
    assert reading_of(data).remarks == remarks


def test_lab_is_made_rgb_by_its_own_profile() -> None:
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(RGB_IMAGE.resize((8, 8), Image.Resampling.BOX), transform)
    assert lab is not None
    data = encoded(lab, "TIFF")
    near = np.asarray(RGB_IMAGE.resize((8, 8), Image.Resampling.BOX), np.int16)
    assert np.abs(pixels(data) - near).max() <= 6  # a step of Lab with 8 bits is up to six of RGB
    assert reading_of(data).remarks == ("colours",)


def rounded(values: np.ndarray, white: int) -> np.ndarray:
    """Return values scaled so that white is 255, by floating-point numbers; a half is rounded up."""
    return np.floor(values.astype(np.float64) * 255 / white + 0.5).astype(np.uint8)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_sixteen_bits_are_scaled_to_eight(form: str) -> None:
    data = encoded(Image.fromarray(DEEP), form, **({"irreversible": False} if form == "JPEG2000" else {}))
    assert np.array_equal(np.asarray(decode(data, "x")), rounded(DEEP, 65_535))
    assert reading_of(data) == (("scaled",), True)
    assert reading_notes(reading_of(data).remarks) == ("1 image with 16 bits per pixel: scaled to 8",)


def tiff(values: np.ndarray, *, bits: int, photometric: int = 1, sample_format: int = 1) -> bytes:
    """Return an uncompressed grey TIFF, little-endian, written by hand."""
    height, width = values.shape
    if bits == 12:
        high, low = values.reshape(-1, 2).T.astype(np.uint32)
        packed = np.stack([high >> 4, ((high & 15) << 4) | (low >> 8), low & 255], axis=1).astype(np.uint8).tobytes()
    else:
        packed = values.tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(packed)), (339, 3, sample_format)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    where = 8 + len(packed)
    return struct.pack("<2sHI", b"II", 42, where) + packed + struct.pack("<H", len(tags)) + table + bytes(4)


def test_tiffs_of_twelve_bits_and_with_a_white_zero_are_scaled_by_their_own_white() -> None:
    values = RNG.integers(0, 4096, (6, 8)).astype(np.uint16)
    values[0, 0], values[0, 1] = 0, 4095
    assert np.array_equal(np.asarray(decode(tiff(values, bits=12), "x")), rounded(values, 4095))
    inverted = tiff(DEEP, bits=16, photometric=0)
    assert np.array_equal(np.asarray(decode(inverted, "x")), 255 - rounded(DEEP, 65_535))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encoded(Image.fromarray(np.full((4, 4), 0.7, np.float32)), "TIFF"), "floating-point numbers"),
        (encoded(Image.fromarray(np.full((4, 4), 40_000, np.int32)), "TIFF"), "32-bit or signed integers"),
        (tiff(np.full((4, 4), -3, np.int16), bits=16, sample_format=2), "32-bit or signed integers"),
        (tiff(np.full((4, 4), -3, np.int8), bits=8, sample_format=2), "signed numbers"),
        (b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", 0.25, 1.0), "floating-point numbers"),
    ],
)
def test_numbers_of_which_no_standard_says_what_is_white_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(BadImage, match=f"its pixels are {message}, and no standard says which is white: save it with"):
        decode(data, "x")


def test_an_exif_orientation_is_not_applied_and_is_counted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "WEBP"):
        data = encoded(RGB_IMAGE, form, exif=exif)
        assert decode(data, "x").size == RGB_IMAGE.size
        assert np.array_equal(pixels(data), as_pillow(data))
        assert reading_of(data).remarks == ("turned",)
    exif[0x0112] = 1
    assert reading_of(encoded(RGB_IMAGE, "JPEG", exif=exif)).remarks == ()
    turned = TiffImagePlugin.ImageFileDirectory_v2()
    turned[0x0112] = 6
    data = encoded(RGB_IMAGE, "TIFF", tiffinfo=turned)
    assert decode(data, "x").size == RGB_IMAGE.size[::-1]  # Pillow turns a TIFF itself
    assert reading_of(data).remarks == ()


def test_images_in_memory_follow_the_same_rule() -> None:
    deep = DecodedImage(Image.fromarray(DEEP), "deep")
    assert np.array_equal(np.asarray(deep.open()), rounded(DEEP, 65_535))
    assert examine(deep).reading == (("scaled",), True) and examine(deep).digest == deep.digest()
    with pytest.raises(BadImage, match="float: its pixels are floating-point numbers"):
        DecodedImage(Image.fromarray(np.zeros((2, 2), np.float32)), "float").open()
    assert as_rgb(RGB_IMAGE, "x") is RGB_IMAGE and as_rgb(GREY_IMAGE, "x") is GREY_IMAGE


# ----- formats


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(touch) print\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Ghostscript on the path; the file that it writes when it is started."""
    started = tmp_path / "started"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return started


def test_postscript_that_is_called_jpg_starts_no_program(tmp_path: Path, ghostscript: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(EPS)
    for read in (FileImage.open, image_size):
        with pytest.raises(BadImage, match=re.escape(f"not an image of a supported format ({', '.join(FORMATS)})")):
            read(FileImage(tmp_path / "photo.jpg"))
    assert examine(FileImage(tmp_path / "photo.jpg")).reading == ((), False)
    assert not ghostscript.exists()


def test_the_size_of_a_missing_image_is_refused_with_one_cause(tmp_path: Path) -> None:
    with pytest.raises(BadImage) as error:
        image_size(FileImage(tmp_path / "gone.png"))
    assert error.value.cause == "No such file or directory"


def test_nothing_but_the_list_of_formats_is_opened_anywhere() -> None:
    import clipbench
    import clipbench_reports
    import clipbench_tasks

    for package in (clipbench, clipbench_reports, clipbench_tasks):
        assert package.__file__ is not None
        for file in Path(package.__file__).parent.rglob("*.py"):
            calls = re.findall(r"Image\.open\([^\n]*", file.read_text(encoding="utf-8"))
            assert all("formats=" in call or '"' in call for call in calls), file  # the second: docstrings


# ----- sizes


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of black pixels, a thousandth of their number of bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((1 + 3 * width) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_small_file_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPBENCH_MAX_PIXELS", str(1_000_000))
    data = bomb(2_000, 1_000)
    with pytest.raises(BadImage, match=r"it has 2,000 x 1,000 pixels, more than 1,000,000: .*"):
        decode(data, "x")
    monkeypatch.setenv("CLIPBENCH_MAX_PIXELS", str(2_000_000))
    assert decode(data, "x").size == (2_000, 1_000)


def test_the_default_limit_holds_for_thirteen_thousand_squared_and_may_be_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = bomb(13_000, 1)
    header = data[:16] + struct.pack(">II", 13_000, 13_000) + data[24:29]
    data = header + struct.pack(">I", zlib.crc32(header[12:])) + data[33:]
    assert len(data) < 2_000
    with pytest.raises(BadImage, match=r"13,000 x 13,000 pixels, more than 100,000,000"):
        decode(data, "x")
    assert Image.MAX_IMAGE_PIXELS is not None  # Pillow's own limit holds for everybody else
    monkeypatch.setenv("CLIPBENCH_MAX_PIXELS", "100 million")
    with pytest.raises(UsageError, match="CLIPBENCH_MAX_PIXELS is '100 million': expected an integer"):
        decode(data, "x")


def test_a_scaled_image_takes_no_more_than_a_strip_beside_its_pixels(make_deep: Callable[[], Image.Image]) -> None:
    image = make_deep()
    tracemalloc.start()
    as_rgb(image, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_pixels = image.width * image.height
    assert peak < 3.5 * n_pixels + 4 * 8 * 2**20, peak / n_pixels


@pytest.fixture
def make_deep(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Image.Image]:
    monkeypatch.setattr("clipbench.data.images.STRIP", 2**20)
    return lambda: Image.fromarray(np.zeros((3_000, 4_000), np.uint16))


def enlarged_header() -> bytes:
    """Return a JPEG of 64 x 64 pixels whose header says 9,900 x 9,900."""
    data = bytearray(encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG"))
    size = data.index(b"\xff\xc0") + 5
    data[size : size + 4] = (9_900).to_bytes(2, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "it is empty"),
        (enlarged_header(), r"its header says 9,900 x 9,900 pixels, which \d,\d{3} bytes cannot hold: it is damaged"),
        (b"P6\n#" + b"x" * 70_000 + b"\n1 1\n255\n\0\0\0", "its header has comments of more than 65,536 bytes"),
        (b"P6\n1 1\n" + b"# x\n" * 20_000 + b"255\n\0\0\0", "its header has comments of more than 65,536 bytes"),
    ],
    ids=["empty", "JPEG", "one comment", "many comments"],
)
def test_what_pillow_takes_for_an_image_or_reads_for_a_minute_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(BadImage, match=fault):
        decode(data, "x")


def test_no_reader_of_a_header_reads_a_long_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: object, **keywords: object) -> Image.Image:
        raise AssertionError("Pillow takes a minute")

    monkeypatch.setattr(Image, "open", opened)
    data = b"P6\n#" + b"x" * 70_000 + b"\n1 1\n255\n\0\0\0"
    assert reading_of(data) == Reading()
    image = BytesImage(data, "x")
    for read in (image.open, lambda: image_size(image), lambda: image.media_type):
        with pytest.raises(BadImage, match="comments of more than"):
            read()


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_plain_images_that_compress_well_are_read(mode: str) -> None:
    for value in (0, 32):  # 32 is a space, as in the header of a PBM
        image = Image.new(mode, (2_000, 2_000), value)
        assert decode(encoded(image, "PPM"), "x").size == (2_000, 2_000)
        file = io.BytesIO()
        image.convert("L").save(file, "JPEG", quality=1, progressive=True, optimize=True)
        assert decode(file.getvalue(), "x").size == (2_000, 2_000)
    assert decode(b"P2\n# a\n2 1 # b\n255\n" + b"7 " * 2, "x").size == (2, 1)
