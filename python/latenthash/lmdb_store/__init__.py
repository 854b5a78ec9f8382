"""Caffe's image databases: Datum messages in an LMDB, written once, read by Caffe and us."""

from .datums import QUALITY, Encoding, encode_datum, make_key
from .reader import DatumReader
from .writer import DatumWriter

__all__ = ["QUALITY", "DatumReader", "DatumWriter", "Encoding", "encode_datum", "make_key"]
