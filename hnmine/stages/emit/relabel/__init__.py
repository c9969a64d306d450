"""Relabelling: likely relevant candidates as further positives, and verdicts on the others with these known."""
