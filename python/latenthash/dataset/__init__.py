"""From an image set to what Caffe trains on: LMDBs, mean, labels, lists and a report."""

from .augment import Augment, augment_of, copies_in
from .build import build_lmdb
from .report import DatasetReport

__all__ = ["Augment", "DatasetReport", "augment_of", "build_lmdb", "copies_in"]
