"""Net definitions against real Caffe's shapes, and their errors."""

from __future__ import annotations

from math import prod
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from caffe_oracle import caffe_shapes, start_caffe
from latenthash.errors import NetError
from latenthash.lmdb_store import DatumWriter
from latenthash.netdef import NetDef, layer_rows, layer_table, load_netdef

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: [2, 6, 9, 7] } } }\n'
LABELS = 'layer { name: "l" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
NEURONS = "ReLU Sigmoid TanH ELU Power AbsVal Exp Log BNLL Threshold Dropout LRN MVN Softmax"


def layer(kind: str, tops: str, bottoms: str = "x", more: str = "", name: str = "") -> str:
    """One layer's prototxt, named as its first top."""
    fields = [f'name: "{name or tops.split()[0]}"', f'type: "{kind}"']
    fields += [f'bottom: "{blob}"' for blob in bottoms.split()]
    fields += [f'top: "{blob}"' for blob in tops.split()]
    return f"layer {{ {' '.join(fields)} {more} }}\n"


def conv(top: str, more: str, bottoms: str = "x", kind: str = "Convolution") -> str:
    return layer(kind, top, bottoms, f"convolution_param {{ {more} }}")


def pool(top: str, more: str, tops: str = "") -> str:
    return layer("Pooling", f"{top} {tops}", more=f"pooling_param {{ {more} }}")


WEIGHTED = (
    INPUT
    + conv("c", "num_output: 4 kernel_size: 3")
    + conv("ch", "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0")
    + conv("cg", "num_output: 4 kernel_size: 1 group: 2 bias_term: false")
    + conv("cd", "num_output: 6 kernel_size: [3, 2] dilation: 2 pad: 1 stride: 2")
    + conv("ca", "num_output: 3 kernel_size: 2 axis: -2")
    + conv("c1 c2", "num_output: 3 kernel_size: 2", "x x")
    + conv("d", "num_output: 9 kernel_size: 3 stride: 2 pad: 1 group: 3", kind="Deconvolution")
    + layer("InnerProduct", "i", more="inner_product_param { num_output: 5 }")
    + layer(
        "InnerProduct",
        "it",
        more="inner_product_param { num_output: 5 axis: -1 transpose: true bias_term: false }",
    )
    + layer("PReLU", "p")
    + layer("PReLU", "ps", more="prelu_param { channel_shared: true }")
    + layer("BatchNorm", "b")
    + layer("Scale", "s", more="scale_param { bias_term: true }")
    + layer("Scale", "sa", more="scale_param { axis: 0 num_axes: -1 }")
    + layer("Scale", "s2", "x b", more="scale_param { axis: 0 bias_term: true }")
    + layer("Bias", "bi", more="bias_param { axis: 1 num_axes: 2 }")
    + layer("Bias", "b2", "x s", more="bias_param { axis: 0 }")
    + layer("Parameter", "pa", "", more="parameter_param { shape { dim: [3, 4] } }")
    + LABELS
    + layer("Embed", "e", "label", more="embed_param { num_output: 3 input_dim: 10 }")
)
SAME = (
    INPUT
    + "".join(layer(kind, f"y{kind}") for kind in NEURONS.split())
    + layer("LRN", "yw", more="lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }")
    + layer("ReLU", "yTanH", "yTanH", name="in_place")
    + layer("Split", "z1 z2 z3", "ySigmoid")
    + 'layer { name: "quiet" type: "Silence" bottom: "z1" bottom: "z2" }\n'
)
MOVES = (
    INPUT
    + layer("Concat", "cc", "x x x")
    + layer("Concat", "c0", "x x", more="concat_param { axis: -4 }")
    + layer("Concat", "c2", "x x", more="concat_param { concat_dim: 2 }")
    + layer("Slice", "s1 s2 s3")
    + layer("Slice", "t1 t2", more="slice_param { axis: 2 slice_point: 4 }")
    + layer("Slice", "u1 u2 u3", more="slice_param { slice_dim: 3 slice_point: [1, 5] }")
    + layer("Eltwise", "e", "x x x", more="eltwise_param { operation: MAX }")
    + layer("Flatten", "f")
    + layer("Flatten", "f1", more="flatten_param { axis: -3 end_axis: -2 }")
    + layer("Reshape", "r", more="reshape_param { shape { dim: [0, -1, 21] } }")
    + layer(
        "Reshape", "r1", more="reshape_param { shape { dim: [1, 0, 1] } axis: 1 num_axes: 1 }"
    ).replace("dim: [1, 0, 1]", "dim: [2, 3]")
    + layer("Reshape", "r2", more="reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }")
    + layer("Tile", "ti", more="tile_param { axis: 1 tiles: 3 }")
    + layer("Reduction", "re")
    + layer("Reduction", "r3", more="reduction_param { axis: -1 operation: MEAN }")
    + layer("Crop", "cr", "x s1", more="crop_param { axis: 1 offset: [1, 0, 0] }")
    + layer("Crop", "cn", "x t1", more="crop_param { axis: 2 offset: 0 }")
    + layer("ArgMax", "am", more="argmax_param { top_k: 3 out_max_val: true }")
    + layer("ArgMax", "aa", more="argmax_param { top_k: 3 axis: 1 }")
    + layer("ArgMax", "af", "f", more="argmax_param { top_k: 2 }")
)
LOSSES = (
    INPUT
    + LABELS
    + layer("InnerProduct", "ip", more="inner_product_param { num_output: 4 }")
    + layer("InnerProduct", "iq", more="inner_product_param { num_output: 4 }")
    + layer("SoftmaxWithLoss", "l1", "ip label")
    + layer("SigmoidCrossEntropyLoss", "l2", "ip iq")
    + layer("EuclideanLoss", "l3", "ip iq")
    + layer("HingeLoss", "l4", "ip label")
    + layer("ContrastiveLoss", "l5", "ip iq label")
    + layer("Softmax", "pr", "ip")
    + layer("MultinomialLogisticLoss", "l6", "pr label")
    + layer("Accuracy", "a classwise", "ip label", "accuracy_param { top_k: 2 }")
)
POOLS = (
    INPUT
    + pool("p", "kernel_size: 3 stride: 2")
    + pool("pa", "kernel_size: 2 stride: 2 pool: AVE", "")
    + pool("pc", "kernel_size: 2 stride: 2 pad: 1")  # the last window is clipped
    + pool("ph", "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0")
    + pool("pg", "global_pooling: true")
    + pool("pm", "kernel_size: 3", "mask")
    + pool("ps", "kernel_size: 3 stride: 2 pool: STOCHASTIC")
)
DUMMIES = (
    layer("DummyData", "a b", "", "dummy_data_param { shape { dim: [2, 3] } shape { dim: 4 } }")
    + layer("DummyData", "c d", "", "dummy_data_param { shape { dim: [2, 3] } }")
    + layer(
        "DummyData", "e f", "", "dummy_data_param { num: [2, 3] channels: 1 height: 4 width: 5 }"
    )
    + layer(
        "MemoryData",
        "g h",
        "",
        "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }",
    )
)
V1 = """
name: "old" input: "x" input_dim: 2 input_dim: 6 input_dim: 9 input_dim: 7
layers { name: "c" type: CONVOLUTION bottom: "x" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
         weight_decay: 0 convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "r" type: RELU bottom: "c" top: "c" }
layers { name: "n" type: LRN bottom: "c" top: "n" }
layers { name: "i" type: INNER_PRODUCT bottom: "n" top: "i" inner_product_param { num_output: 5 } }
layers { name: "s" type: SIGMOID bottom: "i" top: "s" exclude { phase: TRAIN } }
layers { name: "t" type: TANH bottom: "i" top: "t" include { phase: TRAIN } }
"""
INPUT_SHAPES = (
    'input: "x" input_shape { dim: [2, 6] } input: "y" input_shape { dim: [2, 3] }\n'
    + layer("Concat", "z", "x y")
)
STAGES = (
    'state { stage: "deploy" }\n'
    + INPUT
    + layer("ReLU", "train", more="include { phase: TRAIN }")
    + layer("ReLU", "high", more="include { min_level: 2 }")
    + layer("ReLU", "low", more="include { max_level: 1 }")
    + layer("ReLU", "staged", more='include { stage: "deploy" }')
    + layer("ReLU", "both", more='include { stage: "deploy" stage: "other" }')
    + layer("ReLU", "either", more='include { stage: "other" } include { phase: TEST }')
    + layer("ReLU", "unstaged", more='exclude { stage: "deploy" }')
    + layer("ReLU", "not", more='include { not_stage: "deploy" }')
)
ZOO = {
    "weighted": WEIGHTED,
    "same": SAME,
    "moves": MOVES,
    "losses": LOSSES,
    "pools": POOLS,
    "dummies": DUMMIES,
    "v1": V1,
    "input_shapes": INPUT_SHAPES,
    "stages": STAGES,
}


def write(folder: Path, text: str, name: str = "net.prototxt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str, phase: str = "TEST") -> NetDef:
    return load_netdef(write(folder, text), phase)


@pytest.mark.caffe
def test_shapes_are_caffes(tmp_path: Path) -> None:
    files = [
        (write(tmp_path, text, f"{name}.prototxt"), phase)
        for name, text in ZOO.items()
        for phase in ("TRAIN", "TEST")
    ]
    for (path, phase), caffe in zip(files, caffe_shapes(files), strict=True):
        net = load_netdef(path, phase)
        shared = {name: caffe.blobs[name] for name in net.blob_shapes}
        assert net.blob_shapes == shared, f"{path.name} {phase}"
        extra = {name for name in caffe.blobs if name not in net.blob_shapes}
        assert all("_split_" in name or name == "(automatic)" for name in extra), extra
        assert net.param_shapes == caffe.params, f"{path.name} {phase}"


def _random_geometry(index: int, rng: np.random.Generator) -> str:
    """A convolution, deconvolution or pooling that may or may not be legal."""
    kernel, stride, pad, dilation = (int(v) for v in rng.integers([1, 1, 0, 1], [6, 5, 4, 4]))
    window = f"kernel_size: {kernel} stride: {stride} pad: {pad}"
    kind = ["Convolution", "Deconvolution", "Pooling"][index % 3]
    if kind == "Pooling":
        return pool(f"y{index}", f"{window} pool: {['MAX', 'AVE'][rng.integers(2)]}")
    group = [1, 2, 3, 6][rng.integers(4)]
    more = f"num_output: 6 {window} dilation: {dilation} group: {group}"
    return conv(f"y{index}", more, kind=kind)


@pytest.mark.caffe
def test_shapes_of_random_geometries_are_caffes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    parts, illegal = [INPUT.replace("[2, 6, 9, 7]", "[1, 6, 13, 8]")], 0
    for index in range(240):
        part = _random_geometry(index, rng)
        try:
            load(tmp_path, parts[0] + part)
        except NetError:
            illegal += 1
        else:
            parts.append(part)
    path = write(tmp_path, "".join(parts))
    (caffe,) = caffe_shapes([(path, "TEST")])
    net = load_netdef(path, "TEST")
    assert net.blob_shapes == {name: caffe.blobs[name] for name in net.blob_shapes}
    assert net.param_shapes == caffe.params
    assert len(parts) > 150 and illegal > 10


ILLEGAL = {
    "pad of a pooling": pool("y", "kernel_size: 2 pad: 2"),
    "groups": conv("y", "num_output: 4 kernel_size: 1 group: 4"),
    "kernel 0": conv("y", "num_output: 4 kernel_size: 0"),
    "no outputs": conv("y", "kernel_size: 1"),
    "kernels for 3 axes": conv("y", "num_output: 4 kernel_size: [1, 2, 3]"),
    "kernel given twice": conv("y", "num_output: 4 kernel_size: 1 kernel_h: 1 kernel_w: 1"),
    "axis": layer("InnerProduct", "y", more="inner_product_param { num_output: 4 axis: 4 }"),
    "slices": layer("Slice", "y z", more="slice_param { slice_point: [2, 4] }"),
    "falling slices": layer("Slice", "y z w", more="slice_param { slice_point: [4, 2] }"),
    "division": layer("Slice", "y1 y2 y3 y4"),
    "reshape": layer("Reshape", "y", more="reshape_param { shape { dim: [4, 4] } }"),
    "two unknowns": layer("Reshape", "y", more="reshape_param { shape { dim: [-1, -1] } }"),
    "indivisible": layer("Reshape", "y", more="reshape_param { shape { dim: [-1, 5] } }"),
    "copy beyond": layer("Reshape", "y", more="reshape_param { shape { dim: [1,1,1,1,0] } }"),
    "reshaped axes": layer(
        "Reshape", "y", more="reshape_param { shape { dim: 2 } axis: 3 num_axes: 3 }"
    ),
    "concat": pool("p", "kernel_size: 2") + layer("Concat", "y", "x p"),
    "crop": pool("p", "kernel_size: 2 stride: 2")
    + layer("Crop", "y", "x p", more="crop_param { offset: [5, 5] }"),
    "crop offsets": layer("Crop", "y", "x x", more="crop_param { offset: [0, 0, 0] }"),
    "tiles": layer("Tile", "y", more="tile_param { tiles: 0 }"),
    "top_k": LABELS
    + layer("Flatten", "f")
    + layer("Accuracy", "y", "f label", "accuracy_param { top_k: 1000 }"),
    "targets": layer("Flatten", "f") + LABELS + layer("EuclideanLoss", "y", "f label"),
    "bottoms": layer("Eltwise", "y", "x"),
    "tops": layer("ReLU", "y z"),
    "embed": LABELS + layer("Embed", "y", "label", more="embed_param { num_output: 3 }"),
    "scale": layer("Scale", "y", more="scale_param { axis: 2 num_axes: 3 }"),
    "unknown bottom": layer("ReLU", "y", "z"),
    "top made twice": layer("ReLU", "y") + layer("TanH", "y", name="z"),
    "both rules": layer("ReLU", "y", more="include { phase: TEST } exclude { phase: TRAIN }"),
    "shapes of an input": layer(
        "Input", "y z w", "", "input_param { shape { dim: 1 } shape { dim: 1 } }"
    ),
    "unknown type": layer("Quantum", "y"),
}


@pytest.mark.parametrize("problem", ILLEGAL)
def test_what_caffe_refuses_is_an_error_that_names_the_layer(problem: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"'[a-z0-9]+'") as caught:
        load(tmp_path, INPUT + ILLEGAL[problem])
    assert "net.prototxt" in str(caught.value) and caught.value.remedy


@pytest.mark.caffe
@pytest.mark.slow
@pytest.mark.parametrize("problem", ILLEGAL)
def test_caffe_refuses_it_too(problem: str, tmp_path: Path) -> None:
    path = write(tmp_path, INPUT + ILLEGAL[problem])
    assert start_caffe(f"import _caffe; _caffe.Net({str(path)!r}, 1)").returncode != 0


def test_shapes_beyond_what_every_caffe_takes(tmp_path: Path) -> None:
    text = INPUT + LABELS + layer("ReLU6", "six") + layer("Flatten", "f")
    text += layer("Clip", "clip", more="clip_param { min: -1 max: 6 }")
    text += layer("SoftmaxWithLoss", "loss prob", "f label", "loss_weight: [1, 0]")
    net = load(tmp_path, text)
    assert net.blob_shapes["clip"] == net.blob_shapes["six"] == (2, 6, 9, 7)
    assert (net.blob_shapes["loss"], net.blob_shapes["prob"]) == ((), (2, 378))
    different = pool("p", "kernel_size: 2") + layer("Eltwise", "y", "x p")  # some forks take it
    with pytest.raises(NetError, match=r"'y' \(Eltwise\): combines different shapes"):
        load(tmp_path, INPUT + different)


@pytest.mark.parametrize("param", ["", "clip_param {}", "clip_param { min: 2 max: 1 }"])
def test_clip_needs_both_ends(param: str, tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"'y' \(Clip\): has no min and max - set clip_param"):
        load(tmp_path, INPUT + layer("Clip", "y", more=param))


def test_unknown_type_lists_what_is_supported(tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"layer 'y' \(Quantum\).*supported are.*Convolution"):
        load(tmp_path, INPUT + layer("Quantum", "y"))


def test_unknown_bottom_lists_near_blobs(tmp_path: Path) -> None:
    text = INPUT + layer("ReLU", "pool_5") + layer("ReLU", "y", "pool5")
    with pytest.raises(NetError, match=r"'pool5'.*pool_5"):
        load(tmp_path, text)


def test_unknown_layer_lists_near_names(tmp_path: Path) -> None:
    net = load(tmp_path, INPUT + layer("ReLU", "latent_sigmoid"))
    assert net.layer("latent_sigmoid").type == "ReLU"
    with pytest.raises(NetError, match=r"net.prototxt: has no layer 'latent_sigmod'.*sigmoid"):
        net.layer("latent_sigmod")


def test_mixed_syntax_and_unfinished_inputs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"net.prototxt: mixes"):
        load(tmp_path, V1 + layer("ReLU", "y"))
    with pytest.raises(NetError, match="inputs"):
        load(tmp_path, 'input: "x" input_dim: 1 input_dim: 2\n' + layer("ReLU", "y"))
    with pytest.raises(NetError, match="has no type"):
        load(tmp_path, V1 + 'layers { name: "q" bottom: "i" top: "q" }')


def test_level_is_the_nets_own(tmp_path: Path) -> None:
    """As when Caffe trains; pycaffe sets the level itself."""
    high, low = (layer("ReLU", f"y{n}", more=f"include {{ min_level: {n} }}") for n in (2, 3))
    net = load(tmp_path, "state { level: 2 }\n" + INPUT + high + low)
    assert set(net.blob_shapes) == {"x", "y2"}


def test_unknown_phase(tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"'train'.*TRAIN or TEST"):
        load(tmp_path, INPUT + layer("ReLU", "y"), "train")


def test_old_syntax_is_upgraded(tmp_path: Path) -> None:
    net = load(tmp_path, V1, "TRAIN")
    assert [found.type for found in net.layers] == [
        *("Input", "Convolution", "ReLU", "LRN", "InnerProduct", "TanH")
    ]
    specs = net.layer("c").param.param
    assert [(spec.lr_mult, spec.decay_mult) for spec in specs] == [(1, 1), (2, 0)]
    assert net.name == "old" and net.layer("i").bottoms == ("n",)


def test_old_data_and_sharing_fields_are_upgraded(tmp_path: Path) -> None:
    text = """
    layers { name: "d" type: DATA top: "x" top: "l" data_param { source: "a" batch_size: 2
             crop_size: 4 mean_file: "m" scale: 0.5 mirror: true backend: LMDB } }
    layers { name: "i" type: INNER_PRODUCT bottom: "x" top: "i" param: "w"
             blob_share_mode: PERMISSIVE inner_product_param { num_output: 5 } }
    layers { name: "s" type: SOFTMAX_LOSS bottom: "i" bottom: "l" top: "s" loss_weight: 2 }
    """
    net = load(tmp_path, text)
    transform = net.layer("d").param.transform_param
    assert (transform.crop_size, transform.mean_file) == (4, "m")
    assert (transform.scale, transform.mirror) == (0.5, True)
    assert not net.layer("d").param.data_param.HasField("crop_size")
    (spec,) = net.layer("i").param.param
    assert (spec.name, spec.share_mode) == ("w", 1)
    assert net.layer("s").type == "SoftmaxWithLoss"
    assert list(net.layer("s").param.loss_weight) == [2]
    assert net.blob_shapes == {"x": (2, 3, 4, 4), "l": (2,), "i": (2, 5), "s": ()}


def test_layers_that_share_a_name_share_the_first_ones_shapes(tmp_path: Path) -> None:
    first = layer("InnerProduct", "y", more="inner_product_param { num_output: 4 }")
    second = layer("InnerProduct", "z", more="inner_product_param { num_output: 5 }", name="y")
    net = load(tmp_path, INPUT + first + second)
    assert net.param_shapes == {"y": ((4, 378), (4,))}
    assert net.blob_shapes["z"] == (2, 5)


def data(more: str, kind: str = "Data", param: str = "data_param") -> str:
    setting = 'source: "train" batch_size: 4'
    backend = " backend: LMDB" if kind == "Data" else ""
    return layer(kind, "data label", "", f"{param} {{ {setting}{backend} }} {more}")


def test_data_without_known_shape(tmp_path: Path) -> None:
    crop = "transform_param { crop_size: 8 }"
    assert load(tmp_path, data(crop)).blob_shapes == {"data": (4, 3, 8, 8), "label": (4,)}
    gray = load(tmp_path, data("transform_param { crop_size: 8 force_gray: true }"))
    assert gray.blob_shapes["data"] == (4, 1, 8, 8)
    with pytest.raises(NetError, match=r"layer 'data'.*shape of 'data'.*crop_size"):
        load(tmp_path, data(""))


def test_data_of_known_shape(tmp_path: Path) -> None:
    path = write(tmp_path, data("transform_param { crop_size: 8 }"))
    net = load_netdef(path, "TRAIN", {"data": (1, 10, 12)})
    assert net.blob_shapes["data"] == (4, 1, 8, 8)
    with pytest.raises(NetError, match="crops 8 pixels from images of 7 x 12"):
        load_netdef(path, "TRAIN", {"data": (1, 7, 12)})
    with pytest.raises(NetError, match=r"\(10, 12\) instead of"):
        load_netdef(path, "TRAIN", {"data": (10, 12)})
    whole = write(tmp_path, data(""))
    assert load_netdef(whole, "TRAIN", {"data": (1, 10, 12)}).blob_shapes["data"] == (4, 1, 10, 12)


@pytest.mark.caffe
def test_data_shapes_are_caffes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    with DatumWriter(tmp_path / "train") as writer:
        writer.put("a", pixels, 1)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text("a.png 1\n")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = np.zeros((5, 2, 3), np.float32), np.zeros(5, np.float32)
    (tmp_path / "h5.txt").write_text("a.h5\n")
    listed = layer("ImageData", "i il", "", 'image_data_param { source: "list.txt" batch_size: 2 }')
    resized = listed.replace("batch_size: 2", "batch_size: 2 new_height: 8 new_width: 6")
    stored = layer("HDF5Data", "x y", "", 'hdf5_data_param { source: "h5.txt" batch_size: 3 }')
    texts = [
        data("transform_param { crop_size: 8 }") + resized.replace('"i"', '"j"') + stored,
        data("") + listed,
    ]
    files = [(write(tmp_path, text, f"{i}.prototxt"), "TRAIN") for i, text in enumerate(texts)]
    shapes = {"data": (3, 10, 12), "i": (3, 10, 12), "x": (2, 3), "y": ()}
    for (path, phase), caffe in zip(files, caffe_shapes(files, tmp_path), strict=True):
        assert load_netdef(path, phase, shapes).blob_shapes == caffe.blobs


HASHING = (
    INPUT
    + layer("InnerProduct", "fc7", more="inner_product_param { num_output: 9 }")
    + layer("ReLU", "fc7", "fc7", name="relu7")
    + layer("InnerProduct", "latent", "fc7", "inner_product_param { num_output: 4 }")
    + layer("Sigmoid", "code", "latent", name="latent_sigmoid")
    + layer("InnerProduct", "classifier", "code", "inner_product_param { num_output: 3 }")
)


def test_hashing_blobs(tmp_path: Path) -> None:
    net = load(tmp_path, HASHING)
    assert (net.feature_blob, net.code_blob, net.bits, net.classes) == ("fc7", "code", 4, 3)
    assert [found.name for found in net.data_layers] == ["in"]


def test_net_without_hashing_says_what_it_lacks(tmp_path: Path) -> None:
    net = load(tmp_path, INPUT + layer("ReLU", "y"))
    assert net.classes is None
    for name in ("feature_blob", "bits"):
        with pytest.raises(NetError, match=r"net.prototxt: has no layer 'latent'.*make_net"):
            getattr(net, name)
    with pytest.raises(NetError, match="has no layer 'latent_sigmoid'"):
        _ = net.code_blob


def test_table(tmp_path: Path) -> None:
    net = load(tmp_path, HASHING + 'layer { name: "q" type: "Silence" bottom: "classifier" }')
    rows = {row["name"]: row for row in layer_rows(net)}
    assert rows["fc7"] == {
        "name": "fc7",
        "type": "InnerProduct",
        "shape": [9],
        "parameters": prod((6, 9, 7)) * 9 + 9,
    }
    assert rows["q"]["shape"] == [] and rows["in"]["shape"] == [6, 9, 7]
    lines = layer_table(net).splitlines()
    assert len(lines) == len(net.layers) + 2
    assert lines[-1].split() == ["total", f"{sum(r['parameters'] for r in rows.values()):,}"]


@pytest.mark.parametrize(("mode", "side"), [("CEIL", 4), ("FLOOR", 3)])
def test_bvlcs_name_for_the_rounding_of_pooling(mode: str, side: int, tmp_path: Path) -> None:
    image = layer("Input", "x", "", "input_param { shape { dim: [1, 2, 7, 7] } }")
    net = load(tmp_path, image + pool("p", f"kernel_size: 2 stride: 2 round_mode: {mode}"))
    assert net.blob_shapes["p"] == (1, 2, side, side)
    pooling = net.layer("p").param.pooling_param
    assert pooling.ceil_mode == (mode == "CEIL") and not pooling.HasField("round_mode")
