"""What is made of an analysis to read: files beside the records, one page, and (in `documents`)
tables of documents."""

from scalpel_bench.benchmarks.report.files import FIGURES, provenance_of, write_files
from scalpel_bench.benchmarks.report.page import write_page

__all__ = ["FIGURES", "provenance_of", "write_files", "write_page"]
