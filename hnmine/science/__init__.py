"""Formulas of hard negative mining as pure functions on numpy arrays, each with its source.

They read no file and no clock, draw random numbers from given seeds only, and import nothing beyond `hnmine.arrays`
and numpy.
"""
