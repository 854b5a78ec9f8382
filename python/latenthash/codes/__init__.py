"""Names, labels, features and codes of a set of images, in HDF5."""

from .codeset import CodeSet, CodeWriter, Rows, file_size, merge
from .parts import Parts, Skipped

__all__ = ["CodeSet", "CodeWriter", "Parts", "Rows", "Skipped", "file_size", "merge"]
