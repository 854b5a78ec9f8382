"""Caffe's message classes for pycaffe, made from the descriptor that protoc wrote.

What an old protoc generates does not load into a new protobuf; its descriptor does.
The pool is our own, so that another schema named caffe.proto can live in the process.
"""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

_POOL = descriptor_pool.DescriptorPool()
_FILES = descriptor_pb2.FileDescriptorSet.FromString(
    Path(__file__).with_name("caffe.descriptor").read_bytes()
)
for _file in _FILES.file:
    _POOL.Add(_file)
DESCRIPTOR = _POOL.FindFileByName("caffe.proto")

for _class in message_factory.GetMessageClassesForFiles(["caffe.proto"], _POOL).values():
    globals()[_class.DESCRIPTOR.name] = _class
for _enum in DESCRIPTOR.enum_types_by_name.values():
    globals()[_enum.name] = EnumTypeWrapper(_enum)
    globals().update({value.name: value.number for value in _enum.values})
