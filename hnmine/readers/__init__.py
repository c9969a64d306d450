"""The user's files: any of the formats, at any place, as chunks of checked columns."""
