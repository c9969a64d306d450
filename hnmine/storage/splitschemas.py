"""The table that retrieve keeps while it searches the corpus in parts: a part of the data contract of `schemas`."""

import pyarrow as pa

SPLIT_KEYS = pa.schema(
    [
        pa.field(
            "keys",
            pa.list_(pa.field("item", pa.uint64(), nullable=False)),
            nullable=False,
            metadata={
                "description": "a query's best documents of some rows of the corpus, best first: a score and a place "
                "in one number (`hnmine.science.topk`); its labelled positives take no place"
            },
        )
    ]
)
