"""First values of weights, against those of the built Caffe."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray

from caffe_layers import run_nets
from latenthash.errors import NetError
from latenthash.proto.caffe_pb2 import FillerParameter

torch = pytest.importorskip("torch")

from latenthash.engines.torch.fillers import filled  # noqa: E402

SHAPE = (40, 480, 5, 5)  # 480,000 values: Caffe's change with every run
FILLERS: dict[str, Callable[[NDArray[np.float32]], bool]] = {
    'type: "constant" value: 0.3': lambda values: bool((values == np.float32(0.3)).all()),
    'type: "uniform" min: -1 max: 3': lambda values: values.min() < -0.9 and values.max() > 2.9,
    'type: "gaussian" mean: 1 std: 0.2': lambda values: abs(values.mean() - 1) < 0.02,
    'type: "gaussian" std: 2 sparse: 10': lambda values: 0.2 < (values != 0).mean() < 0.3,
    'type: "xavier"': lambda values: values.std() > 0,
    'type: "xavier" variance_norm: FAN_OUT': lambda values: values.std() > 0,
    'type: "xavier" variance_norm: AVERAGE': lambda values: values.std() > 0,
    'type: "msra"': lambda values: values.std() > 0,
    'type: "msra" variance_norm: AVERAGE': lambda values: values.std() > 0,
    'type: "positive_unitball"': lambda values: np.allclose(values.sum((1, 2, 3)), 1, atol=1e-5),
    'type: "bilinear"': lambda values: np.allclose(values, values[0, 0]),
}


@pytest.mark.caffe
def test_fillers_fill_as_caffes_do(tmp_path: Path) -> None:
    """Same moments and tails; what is not random is equal."""
    jobs = []
    for number, filler in enumerate(FILLERS):
        path = tmp_path / f"{number}.prototxt"
        path.write_text(
            'layer { name: "x" type: "Input" top: "x" '
            "input_param { shape { dim: [1, 480, 7, 7] } } }\n"
            'layer { name: "it" type: "Convolution" bottom: "x" top: "y" convolution_param { '
            f"num_output: 40 kernel_size: 5 bias_term: false weight_filler {{ {filler} }} }} }}"
        )
        jobs.append((path, None, {}, "TEST", False))
    for (filler, holds), caffe in zip(FILLERS.items(), run_nets(jobs, tmp_path), strict=True):
        message = text_format.Parse(filler, FillerParameter())
        ours = filled(message, SHAPE, torch.Generator().manual_seed(1)).numpy()
        theirs = caffe["value 0 it"]
        assert holds(ours), filler
        assert holds(theirs), filler
        for measure in (
            np.mean,
            np.std,
            partial(np.quantile, q=0.01),
            partial(np.quantile, q=0.99),
        ):
            close = abs(measure(ours) - measure(theirs)) < 0.1 * theirs.std() + 1e-6
            assert close, (filler, measure)
        if not theirs.std() or "bilinear" in filler:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    ("filler", "shape", "match"),
    [
        ({"type": "bilinear"}, (3, 4), r"bilinear for a blob of shape \(3, 4\)"),
        ({"type": "xavier", "sparse": 2}, (3, 4), "'xavier' is not sparse"),
        ({"type": "gaussian", "sparse": 5}, (3, 4), "sparse 5 for 3 outputs"),
    ],
)
def test_fillers_that_cannot_fill(
    filler: dict[str, object], shape: tuple[int, ...], match: str
) -> None:
    with pytest.raises(NetError, match=match):
        filled(FillerParameter(**filler), shape, torch.Generator())  # type: ignore[arg-type]
