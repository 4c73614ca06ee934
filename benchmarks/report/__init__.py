"""What is made of an analysis to read: files beside the records, one page, tables of documents."""

from scalpel_bench.benchmarks.report.documents import fill
from scalpel_bench.benchmarks.report.files import FIGURES, provenance_of, write_files
from scalpel_bench.benchmarks.report.page import write_page

__all__ = ["FIGURES", "fill", "provenance_of", "write_files", "write_page"]
