"""One job a file, read top to bottom: flags, load, call, save, print. ``curate <job>`` runs ``pipelines/<job>.py``.

A job is a function ``main`` with Typer annotations; its heavy imports are inside it: ``curate --help`` is instant.
"""
