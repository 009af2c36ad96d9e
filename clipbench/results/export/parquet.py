"""``parquet``: the long table of ``rows``, with types."""

import io
from collections.abc import Sequence

from clipbench.results.export.rendered import Rendered
from clipbench.results.export.rows import COLUMNS, rows
from clipbench.results.run import Run


def render(runs: Sequence[Run]) -> Rendered:
    """Return a row a metric; what is not known is null, and a column has its type even where all of it is."""
    import pyarrow
    import pyarrow.parquet

    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows(runs)], schema=schema), buffer)
    return Rendered(content=buffer.getvalue())
