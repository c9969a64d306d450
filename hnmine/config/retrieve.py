"""The tables `[index]` and `[retrieve]`: how candidates are found."""

from typing import Literal

from hnmine.config.base import Name, Section, setting
from hnmine.config.sources import MOST_SOURCES, SourceConfig
from hnmine.config.where import WhereConfig

MOST_SPLITS = 512


class IndexConfig(Section):
    """How the corpus is searched; candidates are always re-scored exactly from the stored vectors."""

    kind: Literal["auto", "flat", "hnsw", "ivf"] = setting(
        "auto", "flat is exact; auto: flat or ivf, by cost and measured recall"
    )
    device: Name | None = setting(
        None, "where exact search multiplies: cuda, cuda:1; candidates are the same (default: the CPU)", no_effect=True
    )
    product: Literal["auto", "float32", "int8"] = setting(
        "auto", "numbers that exact search multiplies on a CPU; candidates are the same", no_effect=True
    )
    splits: int = setting(
        1,
        "exact search in so many parts of the corpus, merged afterwards; candidates are the same",
        no_effect=True,
        ge=1,
        le=MOST_SPLITS,
    )
    hnsw_links: int = setting(32, "hnsw: links a node (M)", ge=4, le=256)
    hnsw_search: int = setting(256, "hnsw: breadth of the search (efSearch)", ge=1)
    ivf_lists: int | None = setting(None, "ivf: number of lists (default: twice the root of the corpus)", ge=1)
    ivf_probe: int | None = setting(
        None, "ivf: lists looked at for a query (default: as many as min_recall takes)", ge=1
    )
    min_recall: float = setting(0.99, "share of the exact result that auto's approximate search must find", gt=0, le=1)
    recall_sample: int = setting(512, "ivf: queries that its recall is measured on", ge=1)
    recall_depth: int = setting(100, "ivf: best documents of a query that its recall is about", ge=1, le=10_000)


class RetrieveConfig(Section):
    """How many candidates a query gets."""

    top_k: int = setting(100, "candidates a query, its positives not counted", ge=1, le=10_000)
    background: int = setting(256, "random documents that a query's background score is measured on", ge=8)
    fuse: Literal["union", "rrf", "quota"] = setting(
        "union", "several sources: all they find, the best top_k by reciprocal ranks, or the best `quota` of each"
    )
    quota: int | None = setting(None, 'fuse = "quota": candidates that each source gives', ge=1)
    source: list[SourceConfig] = setting(
        [], "where candidates come from (default: the teacher alone)", max_length=MOST_SOURCES
    )
    where: list[WhereConfig] = setting([], "conditions on columns that candidates must meet (default: none)")

    @property
    def depths(self) -> tuple[int, ...]:
        """How many candidates each source gives a query, positives not counted."""
        most = self.quota if self.fuse == "quota" and self.quota else 10_000
        return tuple(min(source.top_k or self.top_k, most) for source in self.source)

    @property
    def most(self) -> int:
        """The largest number of candidates that a query can have, positives not counted."""
        if not self.source:
            return self.top_k
        return min(sum(self.depths), self.top_k) if self.fuse == "rrf" else sum(self.depths)
