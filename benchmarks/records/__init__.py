"""Records of runs: one file each, whole or not there, and folders of them."""

from .adoption import Origin, adopt, adopted, origin_of, take_over
from .atomic_write import check_replaceable, write_atomically
from .environment import anonymous, environment
from .fingerprint import code_identity
from .folder import Content, Folder, Stamp, none_of, refuse_link
from .locking import one_at_a_time
from .manifest import Manifest, has_manifest, read_manifest, write_manifest
from .membership import ANY_DATA, LeftOut, cell, once, sort_out
from .record import Record
from .sweep import RecordedSweep, load_sweep, source_of

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
    "anonymous",
    "cell",
    "check_replaceable",
    "code_identity",
    "environment",
    "has_manifest",
    "load_sweep",
    "none_of",
    "once",
    "one_at_a_time",
    "origin_of",
    "read_manifest",
    "refuse_link",
    "sort_out",
    "source_of",
    "take_over",
    "write_atomically",
    "write_manifest",
]
