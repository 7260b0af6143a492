"""How much prose can a model of code take before it gets worse at code?

Usage: python examples/continue_pretraining.py [OUT]
"""

import sys
from pathlib import Path

import curate

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "continue-out")
DATA = Path(__file__).parent / "data"

# Runs. A language model of 115,008 parameters learned 4.5e6 bytes of code. It then continued on mixtures of that code
# and of prose: five shares, three lengths. The row `start` holds its losses before. Losses are in nats per byte.
runs = DATA / "continued_runs.csv"

# Question. The code loss may rise by .05 nats. What is the largest share of prose, when training is four times longer
# than the longest of these runs? Prose is scarce, so we take the law in which repeats can do harm.
ratios = curate.cmr(
    runs,
    general="code",
    domain="prose",
    pool="prose",
    tolerance=0.05,
    budgets=[curate.Budget(600_000, 115_008)],
    laws=["replay:harm=true"],
    starts=4,
    draws=30,
)
ratios.save(OUT / "cmr.json")

# Result. The critical share with its interval, and the safe one. Trained after such a prediction, the critical share
# was .440 (docs/evidence/continual.md).
print(ratios.table().select("tokens", "ceiling", "share", "low", "high", "safe", "gain"))
