"""Numba kernels: row tiles of a sparse weight times a panel of activations.

Several entries are unrolled over one contiguous loop over tokens, which LLVM vectorises: a result
is loaded and stored once for eight products. Rounding: an element is a float32 sum of n products in
any order, |error| <= gamma_n * sum |w x| with gamma_n = n u / (1 - n u), u = 2**-24 (Higham 2002,
section 3.1). Reassociation and contraction are allowed; NaN and infinity keep their meaning.

A tile multiplies its entries [begins[tile, r], ends[tile, r]) of every run r. Entry i takes the row
`columns[i]` of a panel (`panels.Panel`), which begins at
`strip_starts[strip] + row_starts[columns[i]]`. Starts are unsigned, since Numba tests signed indices
for wrap-around in every step.

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
def multiply_rows(  # type: ignore[no-untyped-def]
    begins, ends, columns, values, panel, row_starts, strip_starts, out, first, last
):
    """Tiles of one row. panel: flat; out: (strips, tiles, width)."""
    width = np.uint64(out.shape[2])
    for strip in range(len(strip_starts)):
        start = strip_starts[strip]
        for row in range(first, last):
            result = out[strip, row]
            result[:] = 0.0
            for run in range(begins.shape[1]):
                begin, end = begins[row, run], ends[row, run]
                body = begin + (end - begin) // 8 * 8
                for i in range(begin, body, 8):
                    a0, v0 = start + row_starts[columns[i]], values[i, 0]
                    a1, v1 = start + row_starts[columns[i + 1]], values[i + 1, 0]
                    a2, v2 = start + row_starts[columns[i + 2]], values[i + 2, 0]
                    a3, v3 = start + row_starts[columns[i + 3]], values[i + 3, 0]
                    a4, v4 = start + row_starts[columns[i + 4]], values[i + 4, 0]
                    a5, v5 = start + row_starts[columns[i + 5]], values[i + 5, 0]
                    a6, v6 = start + row_starts[columns[i + 6]], values[i + 6, 0]
                    a7, v7 = start + row_starts[columns[i + 7]], values[i + 7, 0]
                    for b in range(width):
                        result[b] += (
                            v0 * panel[a0 + b]
                            + v1 * panel[a1 + b]
                            + v2 * panel[a2 + b]
                            + v3 * panel[a3 + b]
                            + v4 * panel[a4 + b]
                            + v5 * panel[a5 + b]
                            + v6 * panel[a6 + b]
                            + v7 * panel[a7 + b]
                        )
                for i in range(body, end):
                    a0, v0 = start + row_starts[columns[i]], values[i, 0]
                    for b in range(width):
                        result[b] += v0 * panel[a0 + b]


@njit(**OPTIONS)
def multiply_shared_rows(  # type: ignore[no-untyped-def]
    begins, ends, columns, values, panel, row_starts, strip_starts, out, first, last
):
    """Tiles of four rows that share columns: each activation loaded serves four products."""
    width = np.uint64(out.shape[2])
    for strip in range(len(strip_starts)):
        start = strip_starts[strip]
        for tile in range(first, last):
            rows = out[strip, 4 * tile : 4 * tile + 4]
            rows[:] = 0.0
            y0, y1, y2, y3 = rows[0], rows[1], rows[2], rows[3]
            for run in range(begins.shape[1]):
                begin, end = begins[tile, run], ends[tile, run]
                body = begin + (end - begin) // 4 * 4
                for i in range(begin, body, 4):
                    a0 = start + row_starts[columns[i]]
                    a1 = start + row_starts[columns[i + 1]]
                    a2 = start + row_starts[columns[i + 2]]
                    a3 = start + row_starts[columns[i + 3]]
                    p0, p1, p2, p3 = values[i, 0], values[i, 1], values[i, 2], values[i, 3]
                    j = i + 1
                    q0, q1, q2, q3 = values[j, 0], values[j, 1], values[j, 2], values[j, 3]
                    j = i + 2
                    r0, r1, r2, r3 = values[j, 0], values[j, 1], values[j, 2], values[j, 3]
                    j = i + 3
                    s0, s1, s2, s3 = values[j, 0], values[j, 1], values[j, 2], values[j, 3]
                    for b in range(width):
                        p, q, r, s = panel[a0 + b], panel[a1 + b], panel[a2 + b], panel[a3 + b]
                        y0[b] += p0 * p + q0 * q + r0 * r + s0 * s
                        y1[b] += p1 * p + q1 * q + r1 * r + s1 * s
                        y2[b] += p2 * p + q2 * q + r2 * r + s2 * s
                        y3[b] += p3 * p + q3 * q + r3 * r + s3 * s
                for i in range(body, end):
                    a0 = start + row_starts[columns[i]]
                    p0, p1, p2, p3 = values[i, 0], values[i, 1], values[i, 2], values[i, 3]
                    for b in range(width):
                        p = panel[a0 + b]
                        y0[b] += p0 * p
                        y1[b] += p1 * p
                        y2[b] += p2 * p
                        y3[b] += p3 * p


@njit(**OPTIONS)
def dot_rows(begins, ends, columns, values, x, out, first, last):  # type: ignore[no-untyped-def]
    """Few tokens: every result is a dot product with gathered activations.

    x: (tokens, panel_rows), out: (tokens, tiles * tile_rows).
    """
    tile_rows = values.shape[1]
    for token in range(x.shape[0]):
        for tile in range(first, last):
            for r in range(tile_rows):
                total = np.float32(0.0)
                for i in range(begins[tile, 0], ends[tile, 0]):
                    total += values[i, r] * x[token, columns[i]]
                out[token, tile * tile_rows + r] = total
