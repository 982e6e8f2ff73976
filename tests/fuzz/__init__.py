"""Fuzzers: damaged inputs of every family are refused with one sentence, or mean what they plainly say.

`python -m tests.fuzz` runs thousands of cases and prints how they ended; `test_fuzz.py` runs a part of them.
"""
