"""The report: one page, tables of documents, exported files."""
