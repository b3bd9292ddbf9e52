"""A family of two hundred weights, which uses every seam: read it to add your own.

The task is a wave: numbers that swing and fade. From two numbers the model guesses the next one.

====================  ===============================================================================================
``waves.py``          the data: what a row is, how files are read, and how they are made
``batch.py``          rows -> a batch
``net.py``            two networks: one guesses, one judges guesses
``module.py``         the first stage, ``predict``: two named losses, and noise
``sparring.py``       the second, ``spar``: two optimizers, and a start from the first with a fresh part
``evaluation.py``     waves, scored by two measures under two conditions
``report.py``         what a report says of them
``session.py``        one use of a trained run, for ``infer``
``conf/``             the family's own knobs, its stages, model, task, evaluation and session
====================  ===============================================================================================

Nothing in ``mirage_pl/engine`` knows of it. Hydra finds ``conf/`` by ``hydra.searchpath=[pkg://tests.toy.conf]``.
"""
