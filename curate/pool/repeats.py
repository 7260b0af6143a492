"""Warnings about data that is repeated too often.

Hernandez et al. 2022 (arXiv 2205.10487) repeated a small subset, 10 % of 100B training tokens. For each model size they
found a band of repeats that harm most: inside it the harm is at least half of the worst.
"""

# Edges of the band in repeats: k * params ** alpha (Hernandez et al. 2022).
FEWEST = {"k": 4.2e6, "alpha": -0.56}
MOST = {"k": 5.1e7, "alpha": -0.50}
SPENT = 40.0  # passes after which a further one adds almost nothing (Muennighoff et al. 2023, arXiv 2305.16264)


def band(params: float) -> tuple[float, float]:
    """Return the fewest and the most repeats that harm a model of ``params`` parameters."""
    fewest, most = (edge["k"] * params ** edge["alpha"] for edge in (FEWEST, MOST))
    return fewest, most


def warning(repeats: float, params: float) -> str | None:
    """Return a warning if ``repeats`` of a pool harm a model of ``params`` parameters, else None."""
    fewest, most = band(params)
    if not fewest <= repeats <= most:
        return None
    return (
        f"{repeats:.3g} repeats are in the harmful band of a model of {params:.3g} parameters "
        f"({fewest:.3g} to {most:.3g}, Hernandez et al. 2022): keep the pool under {fewest:.3g} epochs or give it more "
        "unique tokens"
    )


def spent(passes: float) -> str | None:
    """Return a warning if a pool is seen so often that a further pass adds almost nothing, else None."""
    if passes <= SPENT:
        return None
    return f"{passes:.3g} passes: beyond about {SPENT:g}, a further pass adds almost nothing (Muennighoff et al. 2023)"
