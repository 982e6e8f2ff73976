"""Preference optimisation of camera plans on rendered previews (VERTIGO, arXiv 2604.02467).

Candidates are drawn (`candidates.py`), filmed on the stage (`previews.py`), judged (`judges/`), and become pairs
(`selection.py`, `contrast.py`); `work.py` makes them of lists of any length. `train/tasks/preference.py` learns from
pairs, and `loop.py` does all of it in rounds.
"""
