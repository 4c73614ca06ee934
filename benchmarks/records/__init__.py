"""Records of runs: one file each, whole or not there, and folders of them."""

from scalpel_bench.benchmarks.records.adoption import Origin, adopt, adopted, origin_of
from scalpel_bench.benchmarks.records.environment import environment
from scalpel_bench.benchmarks.records.files import write_atomically
from scalpel_bench.benchmarks.records.fingerprint import code_identity
from scalpel_bench.benchmarks.records.folder import Content, Folder, Stamp, none_of
from scalpel_bench.benchmarks.records.manifest import Manifest, has_manifest, read_manifest, write_manifest
from scalpel_bench.benchmarks.records.membership import ANY_DATA, LeftOut, cell, sort_out
from scalpel_bench.benchmarks.records.record import Record
from scalpel_bench.benchmarks.records.sweep import RecordedSweep, load_sweep, source_of

__all__ = [
    "ANY_DATA",
    "Content",
    "Folder",
    "LeftOut",
    "Manifest",
    "Origin",
    "Record",
    "RecordedSweep",
    "Stamp",
    "adopt",
    "adopted",
    "cell",
    "code_identity",
    "environment",
    "has_manifest",
    "load_sweep",
    "none_of",
    "origin_of",
    "read_manifest",
    "sort_out",
    "source_of",
    "write_atomically",
    "write_manifest",
]
