"""Keep the better part of a small corpus, and pool what is kept.

Usage: python examples/prune_corpus.py [OUT]
"""

import sys
import sysconfig
from pathlib import Path

import polars as pl

import curate

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "prune-out")
PACKAGES = ("asyncio", "email", "encodings", "json", "unittest")

# Data. Every module of five packages of Python's own library is one document. The package is its source.
library = Path(sysconfig.get_paths()["stdlib"])
files = [file for package in PACKAGES for file in sorted((library / package).glob("*.py"))]
corpus = pl.DataFrame(
    {
        "id": [f"{file.parent.name}/{file.name}" for file in files],
        "source": [file.parent.name for file in files],
        "text": [file.read_text(encoding="utf-8", errors="replace") for file in files],
    }
)

# Scores. Near copies, the share of text that is new, and the distance to the nearest of eight kinds of document.
scorers = ["duplicates", "compression", "embedding:width=64", "prototypes:k=8"]
curate.score(corpus, scorers, OUT / "scores")

# Pruning. We keep the 70 % of documents that repeat themselves least. Every package keeps a floor of its documents, so
# that none is emptied because of its kind (`encodings` holds tables of character codes, which repeat themselves much).
pruned = curate.prune(OUT / "scores", OUT / "kept", by="score.compression", keep=0.7, balance="source")

# Pools. One pool for each package, with the unique tokens that are left.
pools = curate.pools(OUT / "scores", kept=OUT / "kept")

# Result. What each source lost, and what there is to train on.
print(pruned.table())
print(pools.table())
