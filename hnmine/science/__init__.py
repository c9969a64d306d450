"""The formulas: small pure functions, numpy in and numpy out, one published formula each.

Nothing here reads a file, a clock or a generator that it was not given, and nothing here imports more than numpy
(and scikit-learn where a model is fitted).
"""
