"""Self-contained pages; jinja2 is imported only where one is written."""
