"""The inner loop of MATMUL, compiled.

No fast-math flag: additions keep their order and rounding. A fused multiply-add would give the same
bits, since a product of two FP16 is exact in FP32.
"""

import numpy as np
from numba import njit

_LANES_AT_ONCE = 128  # of a panel row: eight rows and the sums stay in the first-level cache


@njit(cache=True, nogil=True, error_model="numpy")
def add_products(panel, positions, values, sums):  # type: ignore[no-untyped-def]
    """sums[j] += sum over entries e, ascending, of values[j, e] * panel[positions[j, e]].

    panel: (K, lanes) float32; positions: (columns, entries) uint64; values: the same shape, float32;
    sums: (columns, lanes) float32, written in place. Eight entries share one pass over the sums.
    """
    columns, entries = values.shape
    body = entries - entries % 8
    for first in range(0, panel.shape[1], _LANES_AT_ONCE):
        last = min(first + _LANES_AT_ONCE, panel.shape[1])
        for j in range(columns):
            total = sums[j, first:last]
            for e in range(0, body, 8):
                p, v = positions[j, e : e + 8], values[j, e : e + 8]
                a0, a1 = panel[p[0], first:last], panel[p[1], first:last]
                a2, a3 = panel[p[2], first:last], panel[p[3], first:last]
                a4, a5 = panel[p[4], first:last], panel[p[5], first:last]
                a6, a7 = panel[p[6], first:last], panel[p[7], first:last]
                for lane in range(np.uint64(last - first)):
                    s = total[lane] + v[0] * a0[lane]
                    s = s + v[1] * a1[lane]
                    s = s + v[2] * a2[lane]
                    s = s + v[3] * a3[lane]
                    s = s + v[4] * a4[lane]
                    s = s + v[5] * a5[lane]
                    s = s + v[6] * a6[lane]
                    total[lane] = s + v[7] * a7[lane]
            for e in range(body, entries):
                a, w = panel[positions[j, e], first:last], values[j, e]
                for lane in range(np.uint64(last - first)):
                    total[lane] += w * a[lane]
