"""Nets run forward and backward by real Caffe, all in one child process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caffe_oracle import run_caffe

Arrays = dict[str, NDArray[np.float32]]

_RUN = """
import json, sys
import numpy as np
import _caffe
for job in json.load(sys.stdin):
    more = {"weights": job["weights"]} if job["weights"] else {}
    net = _caffe.Net(job["net"], job["phase"], **more)
    blobs = dict(zip(net._blob_names, net._blobs))
    given = np.load(job["given"])
    for name, values in given.items():
        if name.startswith("blob "):
            blobs[name[5:]].data[...] = values
    last = len(net.layers) - 1
    net._forward(0, last)
    found = {"blob " + name: blob.data.copy() for name, blob in blobs.items()}
    for name, values in given.items():
        if name.startswith("diff "):
            blobs[name[5:]].diff[...] = values
    for layer in net.layers:
        for blob in layer.blobs:
            blob.diff[...] = 0
    if job["backward"]:
        net._backward(last, 0)
    found.update({"diff " + name: blob.diff.copy() for name, blob in blobs.items()})
    for name, layer in zip(net._layer_names, net.layers):
        for number, blob in enumerate(layer.blobs):
            found[f"param {number} {name}"] = blob.diff.copy()
            found[f"value {number} {name}"] = blob.data.copy()
    np.savez(job["found"], **found)
"""


Job = tuple[Path, Path | None, Arrays, str, bool]


def run_nets(jobs: list[Job], folder: Path) -> list[Arrays]:
    """What Caffe makes of nets.

    Args:
        jobs: (prototxt, weights, given, phase, whether to go backward): `given` has
            "blob NAME" for the inputs and "diff NAME" for the gradients of the outputs.
        folder: for what goes back and forth.

    Returns:
        For each "blob NAME", "diff NAME", "param NUMBER LAYER" (gradients of weights) and
        "value NUMBER LAYER" (weights afterwards).
    """
    request = []
    for number, (net, weights, given, phase, backward) in enumerate(jobs):
        np.savez(folder / f"given{number}.npz", **given)
        request.append(
            {
                "net": str(net),
                "weights": str(weights or ""),
                "phase": {"TRAIN": 0, "TEST": 1}[phase],
                "backward": backward,
                "given": str(folder / f"given{number}.npz"),
                "found": str(folder / f"found{number}.npz"),
            }
        )
    run_caffe(_RUN, json.dumps(request))
    return [dict(np.load(job["found"])) for job in request]
