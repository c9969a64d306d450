"""The config file: its tables as types, with the default and meaning of every setting, and their checks.

The config reference, `hnmine init` and all checks are made from these classes. A setting marked `no_effect` changes
how a run is carried out, not what it writes, and is left out of content keys.
"""

from hnmine.config.tables import AnchorName as AnchorName
from hnmine.config.tables import Columns as Columns
from hnmine.config.tables import Config as Config
from hnmine.config.tables import EmbedConfig as EmbedConfig
from hnmine.config.tables import EmitConfig as EmitConfig
from hnmine.config.tables import ExtraColumn as ExtraColumn
from hnmine.config.tables import FilterConfig as FilterConfig
from hnmine.config.tables import FormatName as FormatName
from hnmine.config.tables import IndexConfig as IndexConfig
from hnmine.config.tables import InputConfig as InputConfig
from hnmine.config.tables import RescoreConfig as RescoreConfig
from hnmine.config.tables import RetrieveConfig as RetrieveConfig
from hnmine.config.tables import SourceConfig as SourceConfig
from hnmine.config.tables import TeacherTable as TeacherTable
from hnmine.config.tables import WhereConfig as WhereConfig
