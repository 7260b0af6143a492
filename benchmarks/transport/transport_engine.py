"""Speed and accuracy of the transport engine beside POT, geomloss and the published procedure.

    python benchmarks/transport/transport_engine.py [--sizes 1000,5000] [--long]

Three sources of Gaussian classes in 64 dimensions, each with classes of its own, against an even target of as many
points. Every row is a process of its own: CPU-seconds with one thread, peak memory with all imports, and the error of
the gradient in the shares, |found - exact| / |exact|, against POT's exact emd on the same points. A warm
start is from a mixture 2 % away. ``--long`` adds 10,000 and 20,000 points for ours; geomloss where it is installed.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "selection"))
from trials import grid

from curate.selection.mixture_distance import MixtureDistance
from curate.transport import distance
from curate.transport.ground_cost import Samples, TransportProblem, problem

WIDTH, CLASSES, SOURCES = 64, 10, 3
START = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
ASKED = torch.tensor([[0.49, 0.305, 0.205]], dtype=torch.float64)  # 2 % of L1 away
Row = tuple[str, float, list[float] | None]  # what, CPU-seconds, gradient (p,) in the shares


def clouds(n: int, *, labels: bool = False) -> TransportProblem:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, WIDTH)) * np.linspace(1.5, 0.1, WIDTH)
    skew = np.full((SOURCES, CLASSES), 0.02)
    for i, favoured in enumerate(np.array_split(np.arange(CLASSES), SOURCES)):
        skew[i, favoured] = 1

    def draw(count: int, shares: np.ndarray) -> Samples:
        y = rng.choice(CLASSES, count, p=shares / shares.sum())
        x = centres[y] + np.linspace(1, 0.1, WIDTH) * rng.standard_normal((count, WIDTH))
        return Samples(x.astype(np.float32), y if labels else None)

    sources = {f"s{i}": draw(len(range(i, n, SOURCES)), skew[i]) for i in range(SOURCES)}
    return problem(sources, draw(n, np.ones(CLASSES)), limit=n)


def clock(
    call: Callable[[], torch.Tensor | distance.TransportSolution],
) -> tuple[float, torch.Tensor | distance.TransportSolution]:
    begun = time.process_time()
    result = call()
    return time.process_time() - begun, result


def ours(n: int, *, labels: bool = False, eps: float = distance.EPS) -> list[Row]:
    of = clouds(n, labels=labels)
    cold, near = clock(lambda: distance.solve(of, START, eps=eps).require())
    warm, result = clock(lambda: distance.solve(of, ASKED, eps=eps, start=near).require())
    return [("cold", cold, None), ("warm, 2 % away", warm, result.gradient[0].tolist())]


def emd(n: int, *, labels: bool = False) -> list[Row]:
    importlib.import_module("ot")  # loading it is not the solver's time

    of = clouds(n, labels=labels)
    seconds, result = clock(lambda: distance.exact(of, ASKED))
    return [("", seconds, result.gradient[0].tolist())]


def pot(n: int) -> list[Row]:
    import ot

    of = clouds(n)
    a = of.masses(ASKED)[0].numpy()
    b = np.full(n, 1 / n)

    def solve() -> torch.Tensor:
        costs, reg = of.across.dense().double().numpy(), distance.EPS * of.across.mean
        _, log = ot.sinkhorn(a, b, costs, reg, numItermax=5000, stopThr=1e-3 / n**0.5, log=True)
        return torch.from_numpy(reg * np.log(log["u"]))[None]

    seconds, f = clock(solve)
    return [("cold, biased", seconds, along(of, f))]


def geomloss(n: int, scaling: float, *, debias: bool) -> list[Row]:
    from geomloss import SamplesLoss

    of = clouds(n)
    blur = (distance.EPS * of.across.mean) ** 0.5
    loss = SamplesLoss(
        "sinkhorn", p=2, blur=blur, scaling=scaling, debias=debias, potentials=True, backend="tensorized"
    )
    x, y = (2**0.5 * cloud.features for cloud in (of.pool, of.target))  # its cost is half of the squared distance
    a, b = of.masses(ASKED)[0].float(), torch.full((n,), 1 / n)
    seconds, f = clock(lambda: loss(a, x, b, y)[0].double().reshape(1, -1))
    return [("cold", seconds, along(of, f))]


def along(of: TransportProblem, f: torch.Tensor) -> list[float]:
    means = of.means(f)
    return (means - (means * ASKED).sum(dim=1, keepdim=True))[0].tolist()


def mixtures(n: int, how: str) -> list[Row]:
    """All 66 mixtures of three sources in tenths, with labels."""
    of, w = clouds(n, labels=True), torch.from_numpy(grid(3, 10))
    if how == "emd":
        used = w[::11]
        seconds, _ = clock(lambda: distance.exact(of, used))
        return [(f"(from {len(used)})", seconds * len(w) / len(used), None)]
    measure = MixtureDistance(of, kind=how)
    seconds, _ = clock(lambda: measure(w))
    return [("cold", seconds, None)]


CASES: dict[str, Callable[[int], list[Row]]] = {
    "POT emd2": emd,
    "POT sinkhorn": pot,
    "geomloss, scaling .9, debiased": lambda n: geomloss(n, 0.9, debias=True),
    "published: geomloss, scaling .5, biased duals": lambda n: geomloss(n, 0.5, debias=False),
    "ours": ours,
    "ours, eps .01": lambda n: ours(n, eps=0.01),
    "POT emd2, labels": lambda n: emd(n, labels=True),
    "ours, labels": lambda n: ours(n, labels=True),
}
GRID: dict[str, Callable[[int], list[Row]]] = {
    "66 mixtures, labels: POT emd2": lambda n: mixtures(n, "emd"),
    "66 mixtures, labels: ours": lambda n: mixtures(n, "transport"),
    "66 mixtures, labels: sliced": lambda n: mixtures(n, "sliced"),
    "66 mixtures, labels: energy": lambda n: mixtures(n, "energy"),
}


def child(name: str, n: int) -> None:
    rows = (CASES | GRID)[name](n)
    print(json.dumps({"rows": rows, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


def run(name: str, n: int, truth: list[float] | None) -> list[float] | None:
    done = subprocess.run([sys.executable, __file__, "--case", name, "--sizes", str(n)], capture_output=True, text=True)
    if done.returncode:
        print(f"{n:>7,}  {name}: {done.stderr.strip().splitlines()[-1]}")
        return None
    text = json.loads(done.stdout.splitlines()[-1])
    for what, seconds, gradient in text["rows"]:
        error = "" if truth is None or gradient is None else _error(gradient, truth)
        print(f"{n:>7,}  {f'{name} {what}':<58}{seconds:>9.2f}{text['mb']:>9,.0f}{error:>11}", flush=True)
    return text["rows"][-1][2]


def _error(gradient: list[float], truth: list[float]) -> str:
    ours, other = np.array(gradient), np.array(truth)
    return f"{float(np.linalg.norm(ours - other) / np.linalg.norm(other)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,5000", help="points a side")
    parser.add_argument("--long", action="store_true", help="10,000 and 20,000 points for ours")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [int(part) for part in arguments.sizes.split(",")]
    if arguments.case:
        return child(arguments.case, sizes[0])
    print(f"{'points':>7}  {'':<58}{'CPU-s':>9}{'peak MB':>9}{'gradient':>11}")
    skip = [] if find_spec("geomloss") else [name for name in CASES if "geomloss" in name]
    for n in sizes:
        truth: list[float] | None = None
        for name in CASES:
            if name not in skip:
                exact = name.startswith("POT emd2")
                gradient = run(name, n, None if exact else truth)
                truth = gradient if exact else truth
    for name in GRID:
        run(name, 2000, None)
    if arguments.long:
        for n in (10_000, 20_000):
            run("ours", n, None)
            run("ours, labels", n, None)
    if skip:
        print("geomloss is not installed: its rows are skipped")


if __name__ == "__main__":
    main()
