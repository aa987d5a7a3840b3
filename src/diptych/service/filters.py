"""`column:value` filters as SQL that LanceDB understands, quoted and typed by the collection's own columns."""

from collections.abc import Mapping, Sequence


def where(filters: Sequence[str], columns: Mapping[str, str], condition: str | None = None) -> str | None:
    """One condition: the filters' (values of one column are alternatives), and `condition`; None if there is nothing.

    `columns` are names with Arrow type names. ValueError for a filter without a colon, of an unknown column, or whose
    value is not of the column's type.
    """
    values: dict[str, list[str]] = {}
    for text in filters:
        column, colon, value = text.partition(":")
        if not colon:
            raise ValueError(f"a filter is column:value, got {text!r}; e.g. filter=format:JPEG")
        if column not in columns:
            raise ValueError(f"no column {column!r} to filter by; there are: {', '.join(columns)}")
        values.setdefault(column, []).append(_literal(column, columns[column], value))
    conditions = [f"`{column}` IN ({', '.join(literals)})" for column, literals in values.items()]
    if condition is not None and condition.strip():
        conditions.append(f"({condition})")
    return " AND ".join(conditions) or None


def _literal(column: str, kind: str, value: str) -> str:
    try:
        match kind:
            case "string":
                return "'" + value.replace("'", "''") + "'"
            case "bool":
                return {"true": "true", "false": "false"}[value.lower()]
            case "int32" | "int64":
                return str(int(value))
            case "double":
                return repr(float(value))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{column} is {kind}, which {value!r} is not") from error
    raise ValueError(f"{column} is {kind}, which filters cannot name; use where=")
