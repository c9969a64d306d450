"""The user's files: any of the formats, at any place, as chunks of checked columns.

Functions that read a file raise `InputError` if it is missing, empty, damaged or of an unknown format; a row or column
that does not fit becomes a problem in `hnmine.errors.Problems`.
"""
