"""What `filter.rule = "auto"` stands for."""

from typing import Any

from hnmine.config.filter import FilterConfig

AUTO: dict[str, Any] = {"rule": ["percent", "calibrated"], "percent": 0.95, "easiest": 0.2}
"""The settings of rule = "auto". docs/calibration.md says how they were picked."""


def resolve_auto(config: FilterConfig) -> FilterConfig:
    """Return the filter with rule "auto" replaced by its settings; any other filter unchanged."""
    if config.rule != "auto":
        return config
    return config.model_copy(update=AUTO)
