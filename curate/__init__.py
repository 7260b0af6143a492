"""curate: which data to train on, in what ratio, for the compute at hand.

Rows become pools. Runs become laws. Pools and laws become a plan. Importing this package runs nothing; import the
module you need (``curate.fitting.fit``, ``curate.planning.plan``, ...).
"""

__version__ = "0.1.0"
