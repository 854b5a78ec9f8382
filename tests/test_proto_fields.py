"""Our schema against that of the built Caffe, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
)

from latenthash.engines.caffe_home import caffe_home
from latenthash.proto import caffe_pb2

Facts = dict[str, Any]
MEANT = {
    "LayerParameter.clip_param": "BVLC's Caffe has it since 2019; forks that left earlier do not",
    "ClipParameter": "as LayerParameter.clip_param",
    "PoolingParameter.round_mode": "BVLC's name for ceil_mode, read from text",
    "PoolingParameter.RoundMode": "as PoolingParameter.round_mode",
    "LayerParameter.relu6_param": "a layer of forks; BVLC's Caffe does not have it",
    "ReLU6Parameter": "as LayerParameter.relu6_param",
}


def file_facts(file: descriptor_pb2.FileDescriptorProto) -> dict[str, Facts]:
    """What is said of every message, field and enum value, by its name in the file."""
    found = dict(enum_facts(file.enum_type, ""))
    for message in file.message_type:
        found.update(message_facts(message, "", f".{file.package}."))
    return found


def message_facts(
    message: DescriptorProto, prefix: str, package: str
) -> Iterator[tuple[str, Facts]]:
    name = prefix + message.name
    yield name, {}
    yield from enum_facts(message.enum_type, f"{name}.")
    for field in message.field:
        yield f"{name}.{field.name}", field_facts(field, package)
    for nested in message.nested_type:
        yield from message_facts(nested, f"{name}.", package)


def field_facts(field: FieldDescriptorProto, package: str) -> Facts:
    return {
        "number": field.number,
        "type": FieldDescriptorProto.Type.Name(field.type),
        "label": FieldDescriptorProto.Label.Name(field.label),
        "of": field.type_name.removeprefix(package),
        "default": default_of(field),
        "packed": field.options.packed,
    }


def default_of(field: FieldDescriptorProto) -> object:
    """As text, but floats as the nearest that a field can hold."""
    if not field.HasField("default_value"):
        return None
    floating = field.type == FieldDescriptorProto.TYPE_FLOAT
    return np.float32(field.default_value) if floating else field.default_value


def enum_facts(enums: Any, prefix: str) -> Iterator[tuple[str, Facts]]:
    enum: EnumDescriptorProto
    for enum in enums:
        yield prefix + enum.name, {}
        for value in enum.value:
            yield f"{prefix}{enum.name}.{value.name}", {"number": value.number}


def numbered(facts: dict[str, Facts]) -> Iterator[tuple[tuple[str, int], str]]:
    """((message, number), name) of all fields."""
    for name, said in facts.items():
        if "type" in said:
            yield (name.rpartition(".")[0], said["number"]), name


@pytest.fixture(scope="module")
def ours() -> dict[str, Facts]:
    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    return file_facts(file)


@pytest.fixture(scope="module")
def theirs() -> dict[str, Facts]:
    described = (caffe_home() / "python/caffe/proto/caffe.descriptor").read_bytes()
    [file] = descriptor_pb2.FileDescriptorSet.FromString(described).file
    return file_facts(file)


@pytest.mark.caffe
def test_all_that_we_have_is_as_in_caffe(ours: dict[str, Facts], theirs: dict[str, Facts]) -> None:
    different = {
        name: (facts, theirs.get(name, "missing"))
        for name, facts in ours.items()
        if theirs.get(name) != facts
    }
    unmeant = {
        name: facts
        for name, facts in different.items()
        if not any(name == meant or name.startswith(f"{meant}.") for meant in MEANT)
    }
    assert unmeant == {}
    assert len(ours) - len(different) > 550


@pytest.mark.caffe
def test_no_number_means_another_field_in_caffe(
    ours: dict[str, Facts], theirs: dict[str, Facts]
) -> None:
    """Else what we write would be read as something else."""
    named = dict(numbered(ours))
    for place, name in numbered(theirs):
        assert named.get(place, name) == name


def test_a_difference_would_be_seen(ours: dict[str, Facts]) -> None:
    """The facts hold what a careless edit changes."""
    assert ours["SolverParameter.delta"] == {
        "number": 31,
        "type": "TYPE_FLOAT",
        "label": "LABEL_OPTIONAL",
        "of": "",
        "default": np.float32(1e-8),
        "packed": False,
    }
    assert ours["BlobProto.data"]["packed"]
    assert ours["BlobProto.data"]["label"] == "LABEL_REPEATED"
    assert ours["ClipParameter.min"]["label"] == "LABEL_REQUIRED"
    assert ours["PoolingParameter.pool"]["of"] == "PoolingParameter.PoolMethod"
    assert ours["PoolingParameter.PoolMethod.STOCHASTIC"] == {"number": 2}
