"""Demonstrations: what somebody was told, what the state was, and what they did; steps of them are samples.

An index, one JSON object a line, names a file for each: ``{"episode": "episodes/0007.npz", "length": 40, "instruction":
"push the box to the red disc"}``. A file holds ``states``, ``[T, S]``, and ``actions``, ``[T - 1, A]``. Where somebody
says what comes next, the row lists ``plans``, and the file's ``plans``, ``[T - 1]``, say which of them is followed.
"""
