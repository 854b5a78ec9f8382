import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from latenthash.proto.caffe_pb2 import NetParameter, SolverParameter
from latenthash.train.text import fields, quote, replace_strings, set_fields, unquote

NET = """
# source: "in a comment"
layer { name: "data" type: "Data" top: "source"
  data_param { source: "a" "b" batch_size: 3 backend: LMDB }  # tail
  transform_param < mean_file: 'mean "of" them' mean_value: [1, 2.5], mean_value: 3 >
  fork_param { mystery: -1.5e3; nested { source: "c\\"d" } }
}
"""


def test_fields():
    found = {".".join(f.path): NET[f.value_start : f.end] for f in fields(NET)}
    assert found["layer.data_param.source"] == '"a" "b"'
    assert found["layer.data_param.backend"] == "LMDB"
    assert found["layer.transform_param.mean_file"] == "'mean \"of\" them'"
    assert found["layer.fork_param.mystery"] == "-1.5e3"
    assert found["layer.fork_param.nested.source"] == '"c\\"d"'
    for field in fields(NET):
        assert NET[field.start : field.end].startswith(field.path[-1])


def test_replace_strings_touches_nothing_else():
    seen = []

    def new(value):
        seen.append(value)
        return "X"

    text = replace_strings(NET, ("source", "mean_file"), new)
    assert sorted(seen) == ["ab", 'c"d', 'mean "of" them']
    expected = NET.replace('"a" "b"', '"X"').replace("'mean \"of\" them'", '"X"')
    assert text == expected.replace('"c\\"d"', '"X"')


def test_set_fields():
    text = 'net: "a" display: 10 # often\ntest_state { level: 3 }\ndisplay : 3 fork: 1'
    changed = set_fields(text, {"display": "7", "random_seed": "1"})
    assert changed.endswith("display: 7\nrandom_seed: 1\n")
    assert changed.count("display") == 1
    for kept in ("# often", "test_state { level: 3 }", "fork: 1", 'net: "a"'):
        assert kept in changed


def test_set_fields_leaves_inner_fields():
    text = "train_state { level: 1 } test_state { level: 2 stage: 'x' }"
    assert set_fields(text, {"level": "9"}).startswith(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_quote(value):
    assert unquote(quote(value)) == value
    solver = text_format.Parse(f"net: {quote(value)}", SolverParameter())
    assert solver.net == value


@pytest.mark.parametrize(
    "style", [{}, {"as_one_line": True}, {"use_short_repeated_primitives": True}]
)
def test_any_style_protobuf_writes(style):
    net = NetParameter(name="n")
    for source in ("one", "two {"):
        layer = net.layer.add(name="data", type="Data", top=["data", "label"])
        layer.data_param.source = source
        layer.transform_param.mean_value.extend([1, 2])
    text = replace_strings(text_format.MessageToString(net, **style), ("source",), "/{}".format)
    back = text_format.Parse(text, NetParameter())
    assert [layer.data_param.source for layer in back.layer] == ["/one", "/two {"]
    for layer, old in zip(back.layer, net.layer, strict=True):
        layer.data_param.source = old.data_param.source
    assert back == net
