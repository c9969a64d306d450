"""`hnmine tune`: chooses settings of filter and emit by what students trained on the mined sets gain."""
