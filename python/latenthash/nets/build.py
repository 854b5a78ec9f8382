"""A family, bits and classes to the three files that Caffe reads."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message

from ..errors import NetError
from ..files import atomic_file
from ..proto.caffe_pb2 import LayerParameter, NetParameter, SolverParameter
from . import dsl
from .alexnet import ALEXNET
from .efficientnet import EFFICIENTNET_LITE0
from .family import Head, NetFamily, Task
from .folding import fold_net
from .freezing import freeze
from .lenet import LENET
from .mixing import mix
from .quick import QUICK
from .vgg import VGG16, VGG19

NETS: dict[str, NetFamily] = {
    family.name: family for family in (LENET, QUICK, ALEXNET, VGG16, VGG19, EFFICIENTNET_LITE0)
}
MAX_BITS = 1024
ADVICE = (
    "Bits: about 20 for up to a few hundred thousand images, 128 for millions. More bits "
    "tell more images apart and scatter alike ones over more buckets."
)
SEED = 1


@dataclass(frozen=True)
class NetFiles:
    """A net called `<family>_<bits>`.

    Attributes:
        name: as above.
        about: one line for people, the files' first comment.
        train_val: both phases, with data layers, loss and accuracy.
        deploy: input to codes and class probabilities.
        solver: how Caffe trains it.
    """

    name: str
    about: str
    train_val: NetParameter
    deploy: NetParameter
    solver: SolverParameter


def build(
    family: str,
    bits: int,
    classes: int | None = None,
    source: str | None = None,
    folder: str | None = None,
    train_images: int | None = None,
    val_images: int | None = None,
    size: int | None = None,
    fixed_statistics: bool = False,
    mixed: float | None = None,
    frozen_to: str | None = None,
) -> NetFiles:
    """Build the net of a family.

    Args:
        family: one of `NETS`.
        bits: width of the codes, 1 to 1024.
        classes: number of classes, at least 2; None takes the family's usual number.
        source: folder with train_lmdb, val_lmdb and mean.binaryproto; None takes
            `data/<the family's usual set>`.
        folder: where the files will lie, for the solver to find its net; None takes
            `prototxt/<name>`. Relative paths count from where Caffe runs, the project's
            root.
        train_images: images in train_lmdb; None takes the usual set's.
        val_images: images in val_lmdb; None takes the usual set's.
        size: side of the net's input; None takes the family's usual one.
        fixed_statistics: training normalises by the moving averages of the weights that
            it starts from, not by each batch; for batches of a few images.
        mixed: training mixes each image with another one, this share of it; see
            `mixing`. None: it does not.
        frozen_to: the last of the first layers, which keep the weights that training
            starts from; None: all learn that the family lets learn.

    Raises:
        NetError: no such family, or a number out of range; a net that cannot be mixed; no such
            layer to freeze.
    """
    chosen = find_family(family)
    chosen = chosen if size is None else chosen.sized(size)
    task = Task(
        bits,
        chosen.classes if classes is None else classes,
        chosen.train_images if train_images is None else train_images,
        chosen.val_images if val_images is None else val_images,
    )
    _check(task)
    name = f"{family}_{bits}"
    head = chosen.head(task)
    source = source or f"data/{chosen.data}"
    train_val = _train_val(chosen, head, name, source)
    if fixed_statistics:
        dsl.fix_statistics(train_val.layer)
    if frozen_to is not None:
        freeze(train_val, frozen_to)
    if mixed is not None:
        train_val = mix(train_val, mixed)
    solver = _solver(chosen, task, name, folder or f"prototxt/{name}")
    about = f"{chosen.summary}; {bits} bits, {task.classes} classes"
    return NetFiles(name, about, train_val, _deploy(chosen, head, name), solver)


def find_family(name: str) -> NetFamily:
    """Family by name.

    Raises:
        NetError: there is none.
    """
    if name not in NETS:
        raise NetError(f"no net named {name!r}", f"choose one of {', '.join(NETS)}")
    return NETS[name]


def _check(task: Task) -> None:
    if not 1 <= task.bits <= MAX_BITS:
        raise NetError(f"codes of {task.bits} bits", f"choose 1 to {MAX_BITS}")
    if task.classes < 2:
        raise NetError(f"{task.classes} classes", "two or more are needed to learn codes")
    if task.train_images < 1 or task.val_images < 1:
        raise NetError(
            f"{task.train_images} training and {task.val_images} validation images",
            "at least one of each is needed",
        )


def _train_val(family: NetFamily, head: Head, name: str, source: str) -> NetParameter:
    data = dsl.data_layers(source, family.batches, family.transform(source))
    return NetParameter(name=name, layer=[*data, *family.trunk(), *head.hashing, *head.training])


def _deploy(family: NetFamily, head: Head, name: str) -> NetParameter:
    trunk = family.deploy_trunk or family.trunk
    return _run_only(family, name, [*trunk(), *head.hashing, head.prob])


def _run_only(family: NetFamily, name: str, trained: list[LayerParameter]) -> NetParameter:
    image = dsl.input_layer(family.channels, family.crop)
    return NetParameter(name=name, layer=[image, *map(dsl.for_deploy, trained)])


def features(family: str, size: int | None = None) -> NetParameter:
    """The deploy net of a family's trunk alone, its normalisation folded away.

    Args:
        family: one of `NETS`.
        size: side of the net's input; None takes the family's usual one.

    Raises:
        NetError: no such family or size.
    """
    chosen = find_family(family)
    chosen = chosen if size is None else chosen.sized(size)
    return fold_net(_run_only(chosen, family, (chosen.deploy_trunk or chosen.trunk)()))


def _solver(family: NetFamily, task: Task, name: str, folder: str) -> SolverParameter:
    """The family's settings; a test sees each validation image once."""
    solver = family.solver(task)
    solver.net = f"{folder}/train_val.prototxt"
    solver.test_iter.append(ceil(task.val_images / family.batches[1]))
    solver.snapshot_prefix = f"run/{name}/{name}"
    solver.solver_mode = SolverParameter.CPU
    solver.random_seed = SEED
    return solver


def texts(files: NetFiles) -> dict[str, str]:
    """The three files' content by name; equal nets give equal texts."""
    messages: dict[str, Message] = {
        "train_val.prototxt": files.train_val,
        "deploy.prototxt": files.deploy,
        "solver.prototxt": files.solver,
    }
    return {name: _text(files.name, files.about, m) for name, m in messages.items()}


def _text(name: str, about: str, message: Message) -> str:
    """Fields in the schema's order, which puts a solver's net first."""
    body = text_format.MessageToString(message, use_index_order=True)
    return f"# {name}: {about}.\n# Written by tools/make_net.py.\n{body}"


def write_net(files: NetFiles, folder: Path, replace: bool = False) -> list[Path]:
    """Write train_val, deploy and solver into `folder`; return their paths.

    Raises:
        NetError: another net is there, and `replace` is false.
        StorageError: the folder cannot be written.
    """
    return _write(texts(files), folder, replace)


def write_features(net: NetParameter, folder: Path, replace: bool = False) -> list[Path]:
    """Write the net of `features` as `folder`/deploy.prototxt; otherwise as `write_net`."""
    about = "images to features, normalisation folded away"
    return _write({"deploy.prototxt": _text(net.name, about, net)}, folder, replace)


def _write(named: dict[str, str], folder: Path, replace: bool) -> list[Path]:
    contents = {folder / name: text for name, text in named.items()}
    for path, text in contents.items():
        if not replace and path.exists() and path.read_text() != text:
            raise NetError(f"{path}: another net is there", "choose another folder, or --force")
    for path, text in contents.items():
        with atomic_file(path) as partial:
            partial.write_text(text)
    return list(contents)
