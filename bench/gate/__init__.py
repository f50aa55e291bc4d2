"""The regression gate: exact work against a baseline, budgets by bounds, time against the base commit.

README.md in this folder is the guide; `python -m bench gate` is the command.
"""
