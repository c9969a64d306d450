"""Arrays and text keys that know nothing of mining."""
