"""report.html: one self-contained page, made of report.json and the texts of its examples."""
