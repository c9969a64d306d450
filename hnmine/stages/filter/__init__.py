"""A verdict for every candidate, by checks, rules and a calibrated model of false negatives."""
