"""Find the best mixture of six pools at three budgets, from a table of 36 small trainings.

Usage: python examples/plan_from_csv.py [OUT]
"""

import sys
from pathlib import Path

import curate

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "plan-out")
DATA = Path(__file__).parent / "data"

# Runs. 36 language models of 115,008 parameters learned from mixtures of six pools: code, prose, tables and tests. Code
# and tests are split in two by the distance of a text to the nearest cluster centre. The loss is that of held-out
# prose, in nats per byte.
runs = DATA / "pilot_runs.csv"

# Pools. The unique bytes of each pool. Prose is scarce.
sizes = {
    "code.1": 1_219_899,
    "code.2": 1_106_237,
    "prose": 89_055,
    "tables": 472_104,
    "tests.1": 977_198,
    "tests.2": 914_176,
}
pools = [curate.Pool(name, tokens) for name, tokens in sizes.items()]

# Law. Three candidates are fitted without the longest runs. We keep the one that predicts these best.
fit = curate.fit(runs, law="utility_smooth,ces,chinchilla", eval="prose", draws=50, starts=8)

# Plan. The mixture with the lowest predicted loss at three lengths of training. The longest is three times the longest
# run. No pool may be seen more than 16 times; the runs go to 22.8 times.
budgets = [curate.Budget(tokens, 115_008) for tokens in (1e5, 4e5, 1.2e6)]
plans = curate.plan(fit, pools, budgets, limits=curate.Limits(max_epochs=16), draws=10)
plans.save(OUT / "plan.json")

# Result. How well the laws did, and the planned share of each pool at each length.
print(fit.table())
print(plans.table().pivot("pool", index="tokens", values="weight"))
