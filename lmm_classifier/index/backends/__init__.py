"""Stores of labeled rows behind one protocol, `core.protocols.RowStore`: in memory, and a table on an object store."""
