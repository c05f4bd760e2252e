"""Methods that replace a weight by factors: DSFormer, StructuredFFN, SLTrain.

    low-rank      y = U (V x)
    block-dense   y = U (V_b x)                  V_b block-diagonal
    block-shuffle y = f^-1 (U_b f (V_b x))       both block-diagonal, f a stride permutation
    dictionary    y = S (D x)                    S sparse, n of every m entries of a row
    sltrain       y = (alpha / r) B (A x) + S x  S sparse, its support fixed

The factors are layers themselves, so `capture` sees their products and `lower` their patterns.
"""
