"""Self-contained pages: of a run's report, and of a comparison. jinja2 is imported only where one is written."""
