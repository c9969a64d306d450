"""The user's files as a canonical corpus and queries with their judgements."""
