"""Which module a weight belongs to."""


def weight_module(path: str, parameters: list[str]) -> str | None:
    """`path` if the running module computes with its own weight, else None.

    `parameters` are all names of the weight. A parametrised weight is the module's own.
    """
    prefix = f"{path}." if path else ""
    own = any(
        name == f"{prefix}weight" or name.startswith(f"{prefix}parametrizations.weight.")
        for name in parameters
    )
    return path if own else None


def parameter_owner(parameter: str) -> str:
    """Path of the module that holds a parameter."""
    return parameter.rpartition(".")[0]
