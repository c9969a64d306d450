"""Building blocks of the schemas, and `conform`, which checks a table against its schema."""

import pyarrow as pa

from hnmine.errors import HnmineError


class SchemaMismatch(HnmineError):
    """A table does not have the columns of its schema: a bug, or a file changed by hand."""

    exit_code = 4


def field(name: str, kind: pa.DataType, text: str, *, nullable: bool = False) -> pa.Field:
    """Return a column with its description, which is part of the bytes of files: a change makes other files."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


def schema(*fields: pa.Field) -> pa.Schema:
    """Return the schema of a table."""
    return pa.schema(list(fields))


def list_of(kind: pa.DataType) -> pa.DataType:
    """Return the type of a list column whose items are never null."""
    return pa.list_(pa.field("item", kind, nullable=False))


INT64S = list_of(pa.int64())
FLOATS = list_of(pa.float32())
INTS = list_of(pa.int32())
STRINGS = list_of(pa.string())


def conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Return `table` with exactly the columns of `schema`, in its order and types.

    `where` is the table's name in messages, for example `retrieve/part-00000.parquet`.

    Raises:
        SchemaMismatch: a column is missing, holds nulls, or cannot be converted without loss; all are named.
    """
    problems, columns = [], []
    for field in schema:
        if field.name not in table.column_names:
            problems.append(f"{where}: column {field.name} is missing")
            continue
        column = table.column(field.name)
        if not column.type.equals(field.type):
            try:
                column = column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                problems.append(f"{where}: column {field.name} is {column.type}, not {field.type}")
                continue
        if column.null_count and not field.nullable:
            problems.append(f"{where}: column {field.name} has {column.null_count:,} nulls")
            continue
        columns.append(column)
    if problems:
        raise SchemaMismatch("\n".join(problems))
    return pa.Table.from_arrays(columns, schema=schema)
