"""Random products, weights and whole steps for the tests of searches and prices."""

from cosparse.spec import (
    NM,
    Block,
    ConvGeometry,
    Dense,
    Gemm,
    Operand,
    Phase,
    TensorInfo,
    Vector,
    Workload,
)

PATTERNS = (Dense(), NM(1, 4), NM(2, 4), NM(2, 8), NM(1, 8), NM(2, 16))


def fits_config(pattern, config):
    """Whether the array selects from groups of the pattern."""
    return not isinstance(pattern, NM) or (
        config.group_max % pattern.m == 0 and pattern.n <= config.n_max
    )


def random_pattern(rng, config, dense=True):
    choices = [item for item in PATTERNS if fits_config(item, config)]
    return rng.choice(choices if dense else choices[1:] or [NM(1, 2)])


def random_weight(rng):
    """(shape, conv groups)."""
    groups = rng.choice((1, 1, 1, 2, 3))
    taps = rng.choice(((), (1, 1), (3, 3), (2, 1)))
    return (groups * rng.randint(1, 60), rng.randint(1, 60), *taps), groups


def half_padded(batch, in_hw, kernel, stride):
    padding = kernel // 2
    out_hw = tuple((size + 2 * padding - kernel) // stride + 1 for size in in_hw)
    pairs = ((one, one) for one in (kernel, stride, padding, 1))
    return ConvGeometry(batch, in_hw, out_hw, *pairs)


def random_gemm(rng, config, conv=None):
    phase = rng.choice((Phase.FF, Phase.BP, Phase.WU))
    pattern = Dense() if phase is Phase.WU else random_pattern(rng, config)
    pattern = Block(8, 8, 0.5) if phase is Phase.FF and rng.random() < 0.1 else pattern
    left, right = Operand("left"), Operand("right", pattern)
    conv = rng.random() < 0.4 if conv is None else conv
    if not conv:
        m, k, n = rng.randint(1, 300), rng.randint(16, 200), rng.randint(16, 200)
        return Gemm("layer", phase, m, k, n, left, right, batch=1)
    in_hw = rng.randint(3, 14), rng.randint(3, 14)
    geometry = half_padded(rng.randint(1, 4), in_hw, rng.choice((1, 3)), rng.choice((1, 2)))
    inputs, outputs = rng.choice((16, 24, 64)), rng.choice((16, 32, 96))
    return conv_gemm("layer", phase, geometry, inputs, outputs, left, right)


def conv_gemm(name, phase, conv, inputs, outputs, left, right):
    tokens, pixels = (conv.batch * hw[0] * hw[1] for hw in (conv.out_hw, conv.in_hw))
    m, k, n = {
        Phase.FF: (tokens, inputs * conv.taps, outputs),
        Phase.BP: (pixels, outputs * conv.taps, inputs),
        Phase.WU: (inputs * conv.taps, tokens, outputs),
    }[phase]
    macs = tokens * conv.taps * inputs * outputs
    return Gemm(name, phase, m, k, n, left, right, conv=conv, macs=macs)


def random_step(rng, pattern):
    """A convolution and two equal linear layers, their updates and vector work.

    pattern: of the weights; with `gradients` of the gradients that BP multiplies.
    """
    gradients = rng.random() < 0.25
    in_hw = rng.randint(4, 12), rng.choice((6, 12, 80))  # WU holds whole rows of pixels
    geometry = half_padded(rng.randint(1, 3), in_hw, 3, rng.choice((1, 1, 2)))
    inputs, outputs, tokens = rng.choice((3, 16)), rng.choice((16, 40)), rng.randint(1, 200)
    weight = Operand("conv.w", pattern if inputs >= 16 else Dense())
    gradient = Operand("dy", pattern if gradients else Dense())
    ops = [
        conv_gemm("conv", Phase.FF, geometry, inputs, outputs, Operand("x"), weight),
        conv_gemm("conv", Phase.WU, geometry, inputs, outputs, Operand("x"), Operand("dy")),
    ]
    tensors = [TensorInfo("conv.w", (outputs, inputs, 3, 3), "float32", "weight")]
    for name in ("a", "b"):
        operand = Operand(f"{name}.w", Dense() if gradients else pattern)
        ops += [
            Gemm(name, Phase.FF, tokens, 64, 48, Operand("x"), operand),
            Gemm(name, Phase.BP, tokens, 48, 64, gradient, operand),
            Gemm(name, Phase.WU, 64, tokens, 48, Operand("x"), Operand("dy")),
            Vector(f"{name}.relu", Phase.FF, "relu", tokens * 48, tokens * 192),
            Vector(f"{name}.w", Phase.UPDATE, "sgd_momentum", 64 * 48, 22 * 64 * 48),
        ]
        tensors.append(TensorInfo(f"{name}.w", (48, 64), "float32", "weight"))
        if operand.pattern != Dense():
            for copy in ("FF", "BP"):
                ops.append(Vector(f"{name}.w.{copy}", Phase.PRUNE, str(pattern), 64 * 48, 1))
    ops.append(Vector("conv.w", Phase.UPDATE, "sgd_momentum", 9 * inputs * outputs, 1))
    return Workload(tuple(ops), tuple(tensors))
