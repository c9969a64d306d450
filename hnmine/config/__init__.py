"""The config file: its tables as types, with the default and meaning of every setting, and their checks.

The config reference, `hnmine init` and all checks are made from these classes. A setting marked `no_effect` changes
how a run is carried out, not what it writes, and is left out of content keys.
"""
