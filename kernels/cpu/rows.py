"""Numba kernels: row tiles of a sparse weight times a panel of activations.

Several entries are unrolled over one contiguous loop over tokens, which LLVM vectorises: a result
is loaded and stored once for eight products. Rounding: an element is a float32 sum of n products in
any order, |error| <= gamma_n * sum |w x| with gamma_n = n u / (1 - n u), u = 2**-24 (Higham 2002,
section 3.1). Reassociation and contraction are allowed; NaN and infinity keep their meaning.

Kernels release the interpreter lock and work on the tiles [first, last), so that threads share a
product by tiles.
"""

from typing import Any

import numpy as np
from numba import njit

OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz"},
}


@njit(**OPTIONS)
def multiply_rows(row_pointers, columns, values, panel, out, first, last):  # type: ignore[no-untyped-def]
    """Tiles of one row. panel: (strips, panel_rows, width), out: (strips, tiles, width)."""
    strips, _, width = panel.shape
    for strip in range(strips):
        for row in range(first, last):
            begin, end = row_pointers[row], row_pointers[row + 1]
            body = begin + (end - begin) // 8 * 8
            for b in range(width):
                out[strip, row, b] = 0.0
            for i in range(begin, body, 8):
                c0, c1, c2, c3 = columns[i], columns[i + 1], columns[i + 2], columns[i + 3]
                c4, c5, c6, c7 = columns[i + 4], columns[i + 5], columns[i + 6], columns[i + 7]
                v0, v1, v2, v3 = values[i, 0], values[i + 1, 0], values[i + 2, 0], values[i + 3, 0]
                v4, v5 = values[i + 4, 0], values[i + 5, 0]
                v6, v7 = values[i + 6, 0], values[i + 7, 0]
                for b in range(width):
                    out[strip, row, b] += (
                        v0 * panel[strip, c0, b]
                        + v1 * panel[strip, c1, b]
                        + v2 * panel[strip, c2, b]
                        + v3 * panel[strip, c3, b]
                        + v4 * panel[strip, c4, b]
                        + v5 * panel[strip, c5, b]
                        + v6 * panel[strip, c6, b]
                        + v7 * panel[strip, c7, b]
                    )
            for i in range(body, end):
                c0, v0 = columns[i], values[i, 0]
                for b in range(width):
                    out[strip, row, b] += v0 * panel[strip, c0, b]


@njit(**OPTIONS)
def multiply_shared_rows(row_pointers, columns, values, panel, out, first, last):  # type: ignore[no-untyped-def]
    """Tiles of four rows that share columns: each activation loaded serves four products."""
    strips, _, width = panel.shape
    for strip in range(strips):
        for tile in range(first, last):
            row = 4 * tile
            begin, end = row_pointers[tile], row_pointers[tile + 1]
            body = begin + (end - begin) // 4 * 4
            for b in range(width):
                out[strip, row, b] = 0.0
                out[strip, row + 1, b] = 0.0
                out[strip, row + 2, b] = 0.0
                out[strip, row + 3, b] = 0.0
            for i in range(begin, body, 4):
                c0, c1, c2, c3 = columns[i], columns[i + 1], columns[i + 2], columns[i + 3]
                p0, p1, p2, p3 = values[i, 0], values[i, 1], values[i, 2], values[i, 3]
                j = i + 1
                q0, q1, q2, q3 = values[j, 0], values[j, 1], values[j, 2], values[j, 3]
                j = i + 2
                r0, r1, r2, r3 = values[j, 0], values[j, 1], values[j, 2], values[j, 3]
                j = i + 3
                s0, s1, s2, s3 = values[j, 0], values[j, 1], values[j, 2], values[j, 3]
                for b in range(width):
                    p, q = panel[strip, c0, b], panel[strip, c1, b]
                    r, s = panel[strip, c2, b], panel[strip, c3, b]
                    out[strip, row, b] += p0 * p + q0 * q + r0 * r + s0 * s
                    out[strip, row + 1, b] += p1 * p + q1 * q + r1 * r + s1 * s
                    out[strip, row + 2, b] += p2 * p + q2 * q + r2 * r + s2 * s
                    out[strip, row + 3, b] += p3 * p + q3 * q + r3 * r + s3 * s
            for i in range(body, end):
                c0 = columns[i]
                p0, p1, p2, p3 = values[i, 0], values[i, 1], values[i, 2], values[i, 3]
                for b in range(width):
                    p = panel[strip, c0, b]
                    out[strip, row, b] += p0 * p
                    out[strip, row + 1, b] += p1 * p
                    out[strip, row + 2, b] += p2 * p
                    out[strip, row + 3, b] += p3 * p


@njit(**OPTIONS)
def dot_rows(row_pointers, columns, values, x, out, first, last):  # type: ignore[no-untyped-def]
    """Few tokens: every result is a dot product with gathered activations.

    x: (tokens, panel_rows), out: (tokens, tiles * tile_rows).
    """
    tile_rows = values.shape[1]
    for token in range(x.shape[0]):
        for tile in range(first, last):
            for r in range(tile_rows):
                total = np.float32(0.0)
                for i in range(row_pointers[tile], row_pointers[tile + 1]):
                    total += values[i, r] * x[token, columns[i]]
                out[token, tile * tile_rows + r] = total
