r"""The file of a packed tensor: one prefix, one JSON header, then the planes without gaps.

offset  bytes  content
0       8      magic "COSPACK\0"
8       4      schema version, little-endian
12      4      length of the JSON header in bytes, padding included
16      4      CRC-32 of the header
20      4      CRC-32 of the planes
24      ...    JSON header, padded with spaces so that the planes start at a multiple of 64
...     ...    planes in the order of the header's "planes" list, little-endian
"""

import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import Array
from ..errors import CorruptFileError, InputError, SchemaVersionError

MAGIC = b"COSPACK\0"
SCHEMA = 1
_PREFIX = struct.Struct("<8sIIII")
_ALIGNMENT = 64


def write_image(path: Path, header: dict[str, Any], planes: dict[str, Array]) -> None:
    """Write `header` (JSON values) and `planes` to `path`, replacing an existing file."""
    described = [
        {"name": name, "dtype": plane.dtype.str, "shape": list(plane.shape)}
        for name, plane in planes.items()
    ]
    text = json.dumps({**header, "planes": described}, sort_keys=True).encode()
    text += b" " * (-(_PREFIX.size + len(text)) % _ALIGNMENT)
    payload = b"".join(np.ascontiguousarray(plane).tobytes() for plane in planes.values())
    prefix = _PREFIX.pack(MAGIC, SCHEMA, len(text), zlib.crc32(text), zlib.crc32(payload))
    path.write_bytes(prefix + text + payload)


def read_image(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the planes of a packed file.

    Raises InputError (no such file), CorruptFileError (not a packed file, damaged or truncated) and
    SchemaVersionError (written in another version).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read a packed tensor: {error.strerror}") from error
    if len(data) < _PREFIX.size or not data.startswith(MAGIC):
        raise CorruptFileError(
            f"{path}: expected a packed tensor (magic 'COSPACK'), got other data"
        )
    _, schema, header_bytes, header_crc, payload_crc = _PREFIX.unpack_from(data)
    if schema != SCHEMA:
        raise SchemaVersionError(
            f"{path}: packed tensor of schema {schema}, this release reads {SCHEMA}; pack it again "
            "from the trained checkpoint"
        )
    text = data[_PREFIX.size : _PREFIX.size + header_bytes]
    payload = memoryview(data)[_PREFIX.size + header_bytes :]
    if len(text) != header_bytes or zlib.crc32(text) != header_crc:
        raise CorruptFileError(f"{path}: the header is damaged (checksum differs); pack it again")
    if zlib.crc32(payload) != payload_crc:
        raise CorruptFileError(
            f"{path}: the planes are damaged or truncated (checksum differs); pack it again"
        )
    try:
        header = dict(json.loads(text))
        return header, _split(header.pop("planes"), payload)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CorruptFileError(f"{path}: the header is malformed: {error!r}") from error


def _split(described: list[dict[str, Any]], payload: memoryview) -> dict[str, Array]:
    """The planes by name. Raises ValueError when they do not make up the payload."""
    planes: dict[str, Array] = {}
    offset = 0
    for item in described:
        dtype, shape = np.dtype(item["dtype"]), tuple(map(int, item["shape"]))
        count = math.prod(shape)
        if dtype.kind not in "uif" or min(shape, default=0) < 0:
            raise ValueError(f"plane '{item['name']}' of dtype {dtype} and shape {shape}")
        end = offset + count * dtype.itemsize
        if end > len(payload):
            raise ValueError(f"planes of at least {end} bytes, the file holds {len(payload)}")
        planes[str(item["name"])] = np.frombuffer(payload[offset:end], dtype).reshape(shape)
        offset = end
    if offset != len(payload):
        raise ValueError(f"planes of {offset} bytes, the file holds {len(payload)}")
    return planes
