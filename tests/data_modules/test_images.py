"""Files of every kind against colours computed by hand: what a viewer shows on a white page."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from data_modules.image_check import check_image
from data_modules.images import image_size, open_image

WIDE = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [255, 255, 255]]], np.uint8)
"""Six colours, 3 wide and 2 high, none of them where it would be if the picture were turned."""


def on_white(colours, alpha):
    """Alpha over white, by arithmetic."""
    alpha = np.asarray(alpha, float)[..., None] / 255
    return np.floor(np.asarray(colours) * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


def look(file: Path) -> np.ndarray:
    """Decoded pixels; the header must promise their size."""
    image = open_image(file, "rows.jsonl:3")
    check_image(file, "rows.jsonl:3")
    assert image.mode == "RGB"
    assert image_size(file, "rows.jsonl:3") == image.size
    return np.asarray(image)


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from its scan lines, each with its filter byte; chunks go before the pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(pixels: bytes, width: int, height: int, *tags: tuple[int, int | tuple[int, ...]]) -> bytes:
    """An uncompressed little-endian TIFF of one strip."""
    entries = {256: width, 257: height, 259: 1, 273: 8, 277: 1, 278: height, 279: len(pixels)} | dict(tags)
    body, directory = pixels + b"\0" * (len(pixels) % 2), b""
    for tag, value in sorted(entries.items()):
        if isinstance(value, tuple):
            directory += struct.pack("<HHII", tag, 3, len(value), 8 + len(body))
            body += struct.pack(f"<{len(value)}H", *value)
        else:
            directory += struct.pack("<HHII", tag, 4, 1, value)
    end = struct.pack("<H", len(entries)) + directory + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + end


ALPHA = np.array([[0, 64, 128], [200, 255, 1]], np.uint8)
RGBA = np.dstack([WIDE, ALPHA])


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.webp", "a.gif", "a.ico"])
def test_what_is_transparent_is_laid_on_white(tmp_path, name):
    alpha = np.where(ALPHA > 100, 255, 0).astype(np.uint8) if name == "a.gif" else ALPHA
    image = Image.fromarray(np.dstack([WIDE, alpha]))
    if name == "a.ico":
        image = image.resize((16, 16), Image.Resampling.NEAREST)
    image.save(tmp_path / name, **({"lossless": True, "exact": True} if name == "a.webp" else {}))
    expected = on_white(WIDE, alpha)
    if name == "a.ico":
        expected = np.asarray(Image.fromarray(expected).resize((16, 16), Image.Resampling.NEAREST))
    assert (look(tmp_path / name) == expected).all()


@pytest.mark.parametrize("name", ["la.png", "la.tiff"])
def test_grey_with_alpha_is_laid_on_white(tmp_path, name):
    grey = np.array([[0, 90, 255], [0, 0, 7]], np.uint8)
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(ALPHA)]).save(tmp_path / name)
    assert (look(tmp_path / name) == on_white(np.dstack([grey] * 3), ALPHA)).all()


def test_premultiplied_colours_are_divided_by_their_alpha_before_they_are_laid_on_white(tmp_path):
    tags = (258, (8, 8, 8, 8)), (262, 2), (277, 4), (338, 1)
    (tmp_path / "p.tiff").write_bytes(tiff(bytes([100, 50, 0, 128]), 1, 1, *tags))
    # colour times alpha is stored, so on white it is what is stored plus 255 - 128
    assert np.abs(look(tmp_path / "p.tiff").astype(int) - (227, 177, 127)).max() <= 1


@pytest.mark.parametrize("kind", ["one entry", "every entry", "palette with alpha"])
def test_transparent_entries_of_a_palette_are_laid_on_white(tmp_path, kind):
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8)).convert("P")
    colours = np.array([[10, 20, 30], [200, 0, 0], [0, 90, 0]], np.uint8)
    image.putpalette(colours.tobytes())
    alpha = {"one entry": [255, 0, 255], "every entry": [0, 128, 255], "palette with alpha": [77, 0, 255]}[kind]
    if kind == "palette with alpha":
        rows = b"\0\0\1\2\0\2\1\0"
        chunks = (b"PLTE", colours.tobytes()), (b"tRNS", bytes(alpha))
        (tmp_path / "p.png").write_bytes(png(3, 2, 8, 3, rows, *chunks))
    else:
        image.save(tmp_path / "p.png", transparency=1 if kind == "one entry" else bytes(alpha))
    index = np.array([[0, 1, 2], [2, 1, 0]])
    assert (look(tmp_path / "p.png") == on_white(colours[index], np.array(alpha)[index])).all()


@pytest.mark.parametrize(
    ("depth", "kind", "rows", "key", "expected"),
    [
        (1, 0, bytes([0, 0b01000000]), (0,), [255, 255, 255]),  # black is transparent
        (1, 0, bytes([0, 0b01000000]), (1,), [0, 255, 0]),
        (2, 0, bytes([0, 0b00011100]), (3,), [0, 85, 255]),
        (2, 0, bytes([0, 0b00011100]), (1,), [0, 255, 255]),
        (4, 0, bytes([0, 0x05, 0xF0]), (5,), [0, 255, 255]),
        (8, 0, bytes([0, 0, 9, 255]), (9,), [0, 255, 255]),
        (16, 0, struct.pack(">B3H", 0, 0, 257 * 9, 65535), (257 * 9,), [0, 255, 255]),
        (16, 0, struct.pack(">B3H", 0, 0, 257 * 9, 65535), (0,), [255, 9, 255]),
        (8, 2, bytes([0, 0, 0, 0, 9, 9, 9, 5, 5, 5]), (9, 9, 9), [0, 255, 5]),
        (16, 2, struct.pack(">B9H", 0, *[0] * 3, *[257 * 9] * 3, *[257 * 5] * 3), [257 * 9] * 3, [0, 255, 5]),
    ],
)
def test_the_one_colour_that_a_png_names_as_transparent_is_white(tmp_path, depth, kind, rows, key, expected):
    (tmp_path / "k.png").write_bytes(png(3, 1, depth, kind, rows, (b"tRNS", struct.pack(f">{len(key)}H", *key))))
    assert look(tmp_path / "k.png")[0, :, 1].tolist() == expected


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    grey = np.array([[0, 128 * 257, 65535], [257, 256 * 100, 700]], np.uint16)
    expected = np.floor(grey / 257 + 0.5).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "g.png")
    Image.fromarray(grey).save(tmp_path / "g.tiff")
    Image.fromarray(grey).save(tmp_path / "g.jp2")
    (tmp_path / "g.pgm").write_bytes(b"P5 3 2 65535\n" + grey.astype(">u2").tobytes())
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    Image.fromarray(grey.astype(">u2")).save(tmp_path / "big.tiff", tiffinfo=tags)
    for name in ("g.png", "g.tiff", "g.jp2", "g.pgm", "big.tiff"):
        assert (look(tmp_path / name) == np.dstack([expected] * 3)).all(), name
    colours = WIDE.astype(np.uint16) * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    (tmp_path / "c.png").write_bytes(png(3, 2, 16, 2, rows))
    assert (look(tmp_path / "c.png") == WIDE).all()


def test_twelve_bits_of_a_scanner_and_white_that_is_zero_are_understood(tmp_path):
    twelve = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00])  # 0x000, 0xFFF, 0x800, 0x000
    (tmp_path / "12.tiff").write_bytes(tiff(twelve, 4, 1, (258, 12), (262, 1)))
    assert look(tmp_path / "12.tiff")[0, :, 0].tolist() == [0, 255, 128, 0]
    for bits, kind in ((8, "B"), (16, "H")):
        stored = struct.pack(f"<3{kind}", 0, 2**bits - 1, (2**bits - 1) // 255 * 55)
        (tmp_path / "w.tiff").write_bytes(tiff(stored, 3, 1, (258, bits), (262, 0)))
        assert look(tmp_path / "w.tiff")[0, :, 0].tolist() == [255, 0, 200]


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "jp2", "tga", "pcx", "ppm"])
def test_opaque_pictures_are_what_they_are(tmp_path, mode, suffix):
    if suffix in ("jp2", "tga") and mode == "1":
        mode = "L"
    Image.fromarray(WIDE).convert(mode).save(tmp_path / f"o.{suffix}")
    values = {"RGB": WIDE, "L": np.dstack([np.asarray(Image.fromarray(WIDE).convert("L"))] * 3)}
    values["1"] = np.dstack([np.asarray(Image.fromarray(WIDE).convert("1")).astype(np.uint8) * 255] * 3)
    assert (look(tmp_path / f"o.{suffix}") == values[mode]).all()


@pytest.mark.parametrize("transform", ["CMYK", "YCCK"])
@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_printers_colours_are_shown_as_ink_on_white(tmp_path, suffix, transform):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, 8:] = (255, 0, 0, 51)
    file = tmp_path / f"ink.{suffix}"
    Image.frombytes("CMYK", (16, 16), ink.tobytes()).save(file, **({"quality": 100} if suffix == "jpg" else {}))
    if suffix == "jpg" and transform == "YCCK":
        stored = file.read_bytes()
        adobe = stored.index(b"Adobe")
        assert stored[adobe + 11] in (0, 2)
    shown = look(file).astype(int)
    assert np.abs(shown[:, :6] - 255).max() <= 4
    assert np.abs(shown[:, 10:] - (0, 204, 204)).max() <= 6  # no red in cyan, and a fifth of black in all


def test_lab_is_shown_in_srgb(tmp_path):
    lab = np.array([[[0, 0, 0], [255, 0, 0], [137, 0, 0]]], np.uint8)
    image = Image.frombytes("LAB", (3, 1), lab.tobytes())
    image.save(tmp_path / "lab.tiff")
    # L of 53.7 is a luminance of 0.217, which sRGB writes as 0.503
    assert np.abs(look(tmp_path / "lab.tiff")[0].astype(int) - [[0] * 3, [255] * 3, [128] * 3]).max() <= 2


def test_a_tiff_of_luma_and_chroma_is_shown_in_rgb(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).convert("YCbCr").save(tmp_path / "y.tiff")
    assert np.abs(look(tmp_path / "y.tiff").astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_whose_black_and_white_nobody_knows_are_refused_in_a_line(tmp_path, mode):
    Image.new(mode, (4, 4), 1).save(tmp_path / "x.tiff")
    with pytest.raises(
        ValueError, match=r"rows.jsonl:3: image .*x.tiff cannot be read \(its pixels have 32 bits"
    ) as error:
        look(tmp_path / "x.tiff")
    assert "\n" not in str(error.value)


TURNED = {
    1: WIDE,
    2: WIDE[:, ::-1],
    3: WIDE[::-1, ::-1],
    4: WIDE[::-1],
    5: WIDE.transpose(1, 0, 2),
    6: WIDE.transpose(1, 0, 2)[:, ::-1],
    7: WIDE[::-1, ::-1].transpose(1, 0, 2),
    8: WIDE.transpose(1, 0, 2)[::-1],
}
"""What is stored as ``WIDE``, by EXIF orientation: 6 has its top on the stored left, so it is turned clockwise."""


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg"])
def test_pictures_are_upright_and_their_headers_know_it(tmp_path, suffix):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    for turn, expected in TURNED.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        file = tmp_path / f"{turn}.{suffix}"
        large = np.repeat(np.repeat(WIDE, 8, 0), 8, 1) if suffix == "jpg" else WIDE
        Image.fromarray(large).save(file, exif=exif, **options)
        shown = look(file)[4::8, 4::8] if suffix == "jpg" else look(file)
        assert np.abs(shown.astype(int) - expected).max() <= (12 if suffix == "jpg" else 0), turn


def test_exif_data_behind_a_pngs_pixels_and_damaged_exif_data_are_no_trap(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = BytesIO()
    Image.fromarray(WIDE).save(content, "PNG", exif=exif)
    stored = content.getvalue()
    start = stored.index(b"eXIf") - 4
    length = 12 + struct.unpack(">I", stored[start : start + 4])[0]
    late = stored[:start] + stored[start + length : -12] + stored[start : start + length] + stored[-12:]
    (tmp_path / "late.png").write_bytes(late)
    assert (look(tmp_path / "late.png") == TURNED[6]).all()
    Image.fromarray(WIDE).save(tmp_path / "bad.png", exif=b"Exif\0\0nothing")
    assert (look(tmp_path / "bad.png") == WIDE).all()


def matrix_profile(swap: bool, gamma: float) -> bytes:
    """An RGB display profile: sRGB's primaries, the first two exchanged or not, with one exponent for all."""
    colorants = {
        b"rXYZ": (0.4361, 0.2225, 0.0139),
        b"gXYZ": (0.3851, 0.7169, 0.0971),
        b"bXYZ": (0.1431, 0.0606, 0.7141),
    }
    if swap:
        colorants[b"rXYZ"], colorants[b"gXYZ"] = colorants[b"gXYZ"], colorants[b"rXYZ"]

    def fixed(*numbers: float) -> bytes:
        return struct.pack(f">{len(numbers)}i", *[round(number * 65536) for number in numbers])

    tags = {name: b"XYZ \0\0\0\0" + fixed(*numbers) for name, numbers in colorants.items()}
    tags |= {
        name: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
        for name in (b"rTRC", b"gTRC", b"bTRC")
    }
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + b"\0" * 78 + b"\0\0"
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + b"\0" * 12 + b"acsp"
    head = (head + b"\0" * 128)[:68] + fixed(0.9642, 1.0, 0.8249)
    return (head + b"\0" * 128)[:128] + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_colours_are_taken_from_the_files_profile_to_srgb(tmp_path, suffix):
    flat = np.full((16, 16, 3), (200, 120, 90), np.uint8)
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    Image.fromarray(flat).save(tmp_path / f"x.{suffix}", icc_profile=matrix_profile(True, 2.2), **options)
    # red and green change places; the exponents 2.2 and sRGB's differ by a few steps in the dark
    assert np.abs(look(tmp_path / f"x.{suffix}")[8, 8].astype(int) - (120, 200, 90)).max() <= 5
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        Image.fromarray(WIDE).save(tmp_path / "same.png", icc_profile=profile)
        assert (look(tmp_path / "same.png") == WIDE).all()


def test_a_profile_leaves_alpha_alone_and_serves_grey_and_palettes_too(tmp_path):
    profile = matrix_profile(False, 1.0)  # linear light
    lighter = round(255 * (1.055 * (100 / 255) ** (1 / 2.4) - 0.055))
    Image.new("RGBA", (4, 4), (100, 100, 100, 128)).save(tmp_path / "a.png", icc_profile=profile)
    assert np.abs(look(tmp_path / "a.png").astype(int) - on_white([lighter] * 3, 128)).max() <= 2
    for mode in ("L", "P"):
        Image.new("L", (4, 4), 100).convert(mode).save(tmp_path / "g.png", icc_profile=profile)
        assert np.abs(look(tmp_path / "g.png").astype(int) - lighter).max() <= 2, mode


def test_a_pngs_gamma_is_corrected_unless_it_is_the_screens_or_srgb(tmp_path):
    row = bytes([0, 0, 100, 255])
    linear, usual = (b"gAMA", struct.pack(">I", 100000)), (b"gAMA", struct.pack(">I", 45455))
    for chunks, expected in {
        (linear,): round(255 * (100 / 255) ** (1 / 2.2)),
        (usual,): 100,
        (linear, (b"sRGB", b"\0")): 100,
    }.items():
        (tmp_path / "g.png").write_bytes(png(3, 1, 8, 0, row, *chunks))
        assert look(tmp_path / "g.png")[0, :, 0].tolist() == [0, expected, 255]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_of_several_frames_the_first_is_shown(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 4), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(
        tmp_path / f"f.{suffix}",
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if suffix == "webp" else {}),
    )
    assert (look(tmp_path / f"f.{suffix}") == (255, 0, 0)).all()


def test_what_a_gifs_first_frame_leaves_free_is_white(tmp_path):
    palette = bytes([0, 0, 0, 255, 0, 0])
    head = b"GIF89a" + struct.pack("<HHBBB", 4, 3, 0x80, 0, 0) + palette
    frame = (
        b"," + struct.pack("<HHHHB", 1, 1, 2, 1, 0) + b"\2\2" + struct.pack("<H", 4 | 1 << 3 | 1 << 6 | 5 << 9) + b"\0;"
    )
    (tmp_path / "part.gif").write_bytes(head + frame)
    shown = look(tmp_path / "part.gif")
    assert (shown[1, 1:3] == (255, 0, 0)).all()
    rest = np.ones((3, 4), bool)
    rest[1, 1:3] = False
    assert (shown[rest] == 255).all()


def test_interlaced_pictures_and_wrong_endings_are_no_trouble(tmp_path):
    Image.fromarray(WIDE).convert("P").save(tmp_path / "i.gif", interlace=True)
    Image.fromarray(WIDE).save(tmp_path / "really_png.jpg", "PNG")
    assert np.abs(look(tmp_path / "i.gif").astype(int) - WIDE).max() <= 51
    assert (look(tmp_path / "really_png.jpg") == WIDE).all()


def test_a_bitmap_whose_alpha_is_all_zero_is_opaque_and_another_is_not(tmp_path):
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for alpha, expected in ((0, (200, 100, 50)), (128, tuple(on_white([200, 100, 50], 128).tolist()))):
        pixels = bytes([50, 100, 200, alpha]) * 3 + bytes([50, 100, 200, alpha])
        header = struct.pack("<IiiHHIIiiII", 108, 2, 2, 1, 32, 3, 16, 0, 0, 0, 0) + masks + b"\0" * 52
        file = b"BM" + struct.pack("<IHHI", 14 + 108 + 16, 0, 0, 122) + header + pixels
        (tmp_path / "b.bmp").write_bytes(file)
        assert (look(tmp_path / "b.bmp") == expected).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_a_file_that_is_cut_short_or_empty_is_refused_in_a_line(tmp_path, suffix):
    content = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(content, {"jpg": "JPEG", "tiff": "TIFF"}.get(suffix, suffix.upper()))
    for kept in (0, 10, len(content.getvalue()) // 2):
        (tmp_path / f"x.{suffix}").write_bytes(content.getvalue()[:kept])
        with pytest.raises(ValueError, match=rf"^rows.jsonl:3: image .*x.{suffix} cannot be read \(.+\)") as error:
            look(tmp_path / f"x.{suffix}")
        assert "\n" not in str(error.value)


def test_pictures_without_pixels_or_with_too_many_are_refused_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "none.png").write_bytes(png(0, 3, 8, 0, b""))
    Image.new("1", (200, 100)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150 * 100)
    with pytest.raises(ValueError, match=r"none.png cannot be read"):
        look(tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"large.png is too large to decode \(200 x 100 pixels\)"):
        image_size(tmp_path / "large.png", "rows.jsonl:3")


def test_a_picture_that_was_replaced_is_measured_anew(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    assert image_size(tmp_path / "x.png", "") == (8, 8)
    Image.new("RGB", (300, 20)).save(tmp_path / "x.png")
    assert image_size(tmp_path / "x.png", "") == (300, 20)


def test_nothing_but_the_module_of_images_opens_image_files():
    """Apart: clips, pictures of numbers, a plot that was never a file, and the file that goes out with an export."""
    root = Path(__file__).parents[2]
    files = [file for folder in ("data_modules", "mirage_pl", "callbacks") for file in (root / folder).rglob("*.py")]
    openers = {file.relative_to(root).as_posix() for file in files if "Image.open(" in file.read_text()}
    apart = {f"data_modules/episodes/{name}.py" for name in ("video", "hdf5", "pictures")}
    apart |= {"mirage_pl/ivideogpt/evaluations/prediction_trial.py", "mirage_pl/mirage/export/mirage_generate.py"}
    assert openers == {"data_modules/images.py"} | apart


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", r"empty\); replace it"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"Git LFS\); get the file"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, r"HEIC or a video\); convert it"),
        (b"<?xml version='1.0'?><svg/>", r"SVG\); convert it"),
        (b"%PDF-1.7", r"PDF\); convert it"),
        (b"<html>404</html>", r"a web page\); download"),
        (b"text", r"no image of a known kind\); replace it by PNG"),
    ],
)
def test_a_file_that_is_no_image_is_named_for_what_it_is(tmp_path, content, kind):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^rows.jsonl:3: image .*x.png cannot be read \(it is .*{kind}"):
        look(tmp_path / "x.png")


def test_a_folder_or_a_pipe_is_no_image_and_nothing_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for file in (tmp_path, tmp_path / "pipe.png"):
        for read in (open_image, image_size, check_image):
            with pytest.raises(ValueError, match=r"cannot be read \(it is a folder or a pipe\)"):
                read(file, "rows.jsonl:3")


@pytest.mark.parametrize(
    ("where", "fix"),
    [
        ("rows.jsonl:3", "correct the row or set task.image_root"),
        ("image=none.png", "correct its path"),
        ("prompt=", "correct its path"),
    ],
)
def test_an_image_that_is_not_there_is_mended_where_it_was_named(tmp_path, where, fix):
    with pytest.raises(ValueError, match=f"^{where}: image .*none.png does not exist; {fix}$"):
        open_image(tmp_path / "none.png", where)
