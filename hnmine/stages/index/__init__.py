"""An approximate index of the corpus, where one is used."""
