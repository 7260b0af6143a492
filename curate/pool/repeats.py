"""The number of repeats of a small subset that harms a model of a given size (Hernandez et al. 2022, arXiv 2205.10487).

Measured on 100B tokens of which 10 % are one subset repeated; inside the band at least half of the worst harm.
"""

# E = k N^alpha: edges of the band of poor performance, repeats over parameters.
LEFT = {"k": 4.2e6, "alpha": -0.56}
RIGHT = {"k": 5.1e7, "alpha": -0.50}
SPENT = 40.0  # passes (Muennighoff et al. 2023, arXiv 2305.16264)


def band(params: float) -> tuple[float, float]:
    """Return the fewest and the most repeats that are harmful to a model of ``params`` parameters."""
    left, right = (edge["k"] * params ** edge["alpha"] for edge in (LEFT, RIGHT))
    return left, right


def warning(repeats: float, params: float) -> str | None:
    """Return what to say where a pool is seen ``repeats`` times by a model of ``params`` parameters, else None."""
    left, right = band(params)
    if not left <= repeats <= right:
        return None
    return (
        f"{repeats:.3g} repeats are in the harmful band of a model of {params:.3g} parameters "
        f"({left:.3g} to {right:.3g}, Hernandez et al. 2022): keep the pool under {left:.3g} epochs or give it more "
        "unique tokens"
    )


def spent(passes: float) -> str | None:
    """Return what to say where a pool is seen so often that more of it is worth next to nothing, else None."""
    if passes <= SPENT:
        return None
    return f"{passes:.3g} passes, beyond about {SPENT:g} a repeat is worth next to nothing (Muennighoff et al. 2023)"
