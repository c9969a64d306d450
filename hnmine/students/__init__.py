"""Students: models that are trained on mined sets in seconds or minutes, to compare the sets by what they teach."""
