"""The config file's tables, as types. Every key, its default and its meaning stand here and nowhere else.

The generated config reference, `hnmine init` and the checks all read these classes. A field marked with
`no_effect` changes how a run is carried out, never what it writes, and so is left out of content keys.
"""

from hnmine.config.emit import LABELED, ChoiceName, EmitConfig, ExtraColumn, FormatName
from hnmine.config.filter import AnchorName, FilterConfig, RuleName
from hnmine.config.input import Columns, InputConfig
from hnmine.config.previous import PreviousConfig
from hnmine.config.rescore import RescoreConfig
from hnmine.config.retrieve import IndexConfig, RetrieveConfig
from hnmine.config.root import SECTIONS, Config, ReportConfig
from hnmine.config.sources import SourceConfig
from hnmine.config.teacher import EmbedConfig, TeacherTable
from hnmine.config.where import WhereConfig

__all__ = [
    "LABELED",
    "SECTIONS",
    "AnchorName",
    "ChoiceName",
    "Columns",
    "Config",
    "EmbedConfig",
    "EmitConfig",
    "ExtraColumn",
    "FilterConfig",
    "FormatName",
    "IndexConfig",
    "InputConfig",
    "PreviousConfig",
    "ReportConfig",
    "RescoreConfig",
    "RetrieveConfig",
    "RuleName",
    "SourceConfig",
    "TeacherTable",
    "WhereConfig",
]
