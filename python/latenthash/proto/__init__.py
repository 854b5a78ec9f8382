"""Caffe's message schema, wire-compatible; text and binary read and write."""

from .files import (
    array_from_blob,
    blob_from_array,
    fill_blob,
    read_binary,
    read_mean,
    read_net,
    read_solver,
    write_binary,
    write_mean,
    write_text,
)

__all__ = [
    "array_from_blob",
    "blob_from_array",
    "fill_blob",
    "read_binary",
    "read_mean",
    "read_net",
    "read_solver",
    "write_binary",
    "write_mean",
    "write_text",
]
