"""ICC profiles made for tests, and what they mean, in plain arithmetic that shares nothing with LittleCMS."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
D65 = (0.3127, 0.3290)
PRIMARIES = {  # red, green, blue, white point: chromaticities from the standards
    "srgb": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    "adobe": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65),
    "prophoto": ((0.734699, 0.265301), (0.159597, 0.840403), (0.036598, 0.000105), (0.345704, 0.358540)),
    "rec2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
}
GAMMAS = {"adobe": 563 / 256, "prophoto": 461 / 256}  # the other ones have the curve of sRGB
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def decoded(name, values):
    """Return light, 0 to 1, for values 0 to 1 of an RGB space."""
    values = np.asarray(values, float)
    if name in GAMMAS:
        return values ** GAMMAS[name]
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(light):
    """Return values of sRGB, 0 to 1, for light; light that sRGB cannot show is clipped."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _xyz(chromaticity):
    x, y = chromaticity
    return np.array([x / y, 1, (1 - x - y) / y])


def to_d50(name):
    """Return the matrix from light of an RGB space to XYZ, adapted to D50 by Bradford's transform."""
    *primaries, white = PRIMARIES[name]
    columns = np.stack([_xyz(primary) for primary in primaries], axis=1)
    matrix = columns * np.linalg.solve(columns, _xyz(white))
    scale = (_BRADFORD @ D50) / (_BRADFORD @ _xyz(white))
    return np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD @ matrix


def rgb_to_srgb(name, pixels):
    """Return the pixels (..., 3), 0 to 255, that show in sRGB what `pixels` show in another space."""
    light = decoded(name, np.asarray(pixels) / 255) @ to_d50(name).T
    return encoded(light @ np.linalg.inv(to_d50("srgb")).T) * 255


def rgb_profile(name, version=2):
    """Return a profile of a space by matrix and curves, of ICC version 2 or 4."""
    tags = {f"{channel}XYZ": _xyz_tag(column) for channel, column in zip("rgb", to_d50(name).T)}
    tags |= {f"{channel}TRC": _curve(name, version) for channel in "rgb"}
    return profile(b"RGB ", tags, version)


def gray_profile(gamma, version=2):
    """Return a profile of gray with a power curve."""
    return profile(b"GRAY", {"kTRC": _power(gamma, version)}, version)


def profile(space, tags, version=2, kind=b"mntr", connection=b"XYZ "):
    """Return a profile with these tags, and with a description and the white point D50."""
    tags = {"desc": _text("made for a test", version), "cprt": _text("none", version), "wtpt": _xyz_tag(D50), **tags}
    body, entries, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        entries += struct.pack(">4sII", name.encode(), start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">4xIII", 0, version << 24, 0)[:4] + b"\0" * 4
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"none", version << 24, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24)
    header += bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body


def _text(text, version):
    if version == 4:
        return struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", 2 * len(text), 28) + text.encode("utf-16-be")
    ascii_text = text.encode() + b"\0"
    return struct.pack(">4s4xI", b"desc", len(ascii_text)) + ascii_text + bytes(78)


def _xyz_tag(values):
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _power(gamma, version):
    if version == 4:
        return struct.pack(">4s4xHxxi", b"para", 0, round(gamma * 65536))
    return struct.pack(">4s4xIH", b"curv", 1, round(gamma * 256))


def _curve(name, version):
    if name in GAMMAS:
        return _power(GAMMAS[name], version)
    if version == 4:
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        return struct.pack(">4s4xHxx5i", b"para", 3, *(round(number * 65536) for number in numbers))
    table = np.rint(decoded(name, np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return struct.pack(">4s4xI", b"curv", len(table)) + table.tobytes()


# Tables, as profiles of printers have them -------------------------------------------------------------------------


def cmyk_to_srgb(content, pixels):
    """Return the pixels (n, 3), 0 to 255, of inks (n, 4), 0 to 255, by the tables of a profile.

    The intent is relative colorimetric. Black point compensation is that of Adobe's paper of 2006: XYZ is scaled about
    D50 so that the darkest neutral color that the profile prints becomes 0.
    """
    xyz = _xyz_of_lab(_lab_of(content, np.asarray(pixels) / 255))
    darkest = _lab_of(content, _table(content, "B2A0", np.array([[0, 32768, 32768]]) / 65535))
    black = _xyz_of_lab(np.array([[min(max(darkest[0, 0], 0), 50), 0, 0]]))[0]
    xyz = (xyz - D50) * (D50 / (D50 - black)) + D50
    return encoded(xyz @ np.linalg.inv(to_d50("srgb")).T) * 255


def _lab_of(content, inks):
    light, green, blue = (_table(content, "A2B1", inks) * 65535 / 256).T  # version 2: 0xFF00 is 100
    return np.stack([light * 100 / 255, green - 128, blue - 128], axis=1)


def _xyz_of_lab(lab):
    across = (lab[:, 0] + 16) / 116
    roots = np.stack([across + lab[:, 1] / 500, across, across - lab[:, 2] / 200], axis=1)
    return D50 * np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))


def _table(content, name, values):
    """Evaluate a table of type `mft2` with linear interpolation along every axis: (n, in) to (n, out), 0 to 1."""
    (count,) = struct.unpack_from(">I", content, 128)
    entries = [struct.unpack_from(">4sII", content, 132 + 12 * number) for number in range(count)]
    start = next(offset for tag, offset, _ in entries if tag == name.encode())
    assert content[start : start + 4] == b"mft2"
    inputs, outputs, grid = content[start + 8 : start + 11]
    in_size, out_size = struct.unpack_from(">HH", content, start + 48)
    numbers = np.frombuffer(
        content, ">u2", offset=start + 52, count=inputs * in_size + grid**inputs * outputs + outputs * out_size
    )
    curves, nodes, last = np.split(numbers / 65535, [inputs * in_size, inputs * in_size + grid**inputs * outputs])
    curves, nodes, last = (
        curves.reshape(inputs, -1),
        nodes.reshape(*[grid] * inputs, outputs),
        last.reshape(outputs, -1),
    )
    place = np.stack([_interpolated(curve, value) for curve, value in zip(curves, values.T)], axis=1) * (grid - 1)
    low = np.minimum(place.astype(int), grid - 2)
    part = place - low
    found = 0
    for corner in np.ndindex(*[2] * inputs):
        weight = np.prod(np.where(corner, part, 1 - part), axis=1)
        found = found + weight[:, None] * nodes[tuple((low + corner).T)]
    return np.stack([_interpolated(curve, value) for curve, value in zip(last, found.T)], axis=1)


def _interpolated(curve, values):
    return np.interp(values * (len(curve) - 1), np.arange(len(curve)), curve)
