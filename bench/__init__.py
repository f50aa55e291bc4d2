"""Measures a database and judges it: the same operations on the old and the new one, against budgets.

`migration` never imports this package; the arrow goes the other way only.
"""
