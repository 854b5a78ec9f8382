"""Sections of the report on quality; each gives "" where what it tells of was not measured."""

from __future__ import annotations

from collections.abc import Iterable

from ..comparison import OWN
from ..hashing import SUPERVISED
from ..plots import Curve, precision_by_rank, precision_recall
from . import figures
from .experiments import TRAINED
from .published import CIFAR10_BITS, CIFAR10_MAP_AT_1000, PAPER
from .results import Json, K, Results
from .text import between, bold, percent, table

_BITS = 48
_TITLES = {
    OWN: "latent layer (this system)",
    TRAINED: "latent layer as trained end to end",
    "latent": "latent layer, learned on the features",
    "itq": "ITQ",
    "itq-cca": "ITQ-CCA",
    "ksh": "KSH",
    "lsh": "LSH",
    "pca": "PCA, signs",
    "sh": "spectral hashing",
}
_LABELS = frozenset({OWN, TRAINED, *SUPERVISED})  # learned from labels


def _by_method(results: Iterable[Json], measure: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for one in results:
        found.setdefault(one["method"], {})[one["bits"]] = one["means"][measure]
    return found


def answers(results: Results) -> str:
    """The two questions that a newcomer has, answered from the figures."""
    if not {"hashes", "learned"} <= set(results.files):
        return ""
    return "\n".join(["## In short", "", _better_than_itq(results), "", _worth_its_time(results)])


def _better_than_itq(results: Results) -> str:
    values = _by_method(results.of_hashes("hashes"), f"map_at_{K}")
    whole = _by_method(results.of_hashes("hashes"), "map_all")
    [bits] = values[OWN]
    own, itq, cca = (values[name].get(bits) for name in (OWN, "itq", "itq-cca"))
    lines = [
        f"**Is it better than ITQ on the same features?** At {bits} bits the latent layer has "
        f"{percent(own)} mAP at 1,000 and {percent(whole[OWN][bits])} over the whole order; ITQ, "
        f"learned on the same network's features without labels, has {percent(itq)} and "
        f"{percent(whole['itq'].get(bits))}, ITQ-CCA with labels {percent(cca)} and "
        f"{percent(whole['itq-cca'].get(bits))}. (These features were themselves learned from the "
        "labels; whatever learns from labels does well on them.)"
    ]
    if TRAINED in values:
        lines.append(
            "The latent layer itself was set by ITQ-CCA once the network was trained; training "
            f"end to end left {percent(values[TRAINED][bits])} and {percent(whole[TRAINED][bits])}."
        )
    if "hashes_generic" in results.files:
        generic = _by_method(results.of_hashes("hashes_generic"), f"map_at_{K}")
        lines.append(
            f"On features of a network that never saw these images ITQ has "
            f"{percent(generic['itq'].get(bits))}: most of the difference to published tables is "
            "the features, not the hash."
        )
    return " ".join(lines)


def _worth_its_time(results: Results) -> str:
    told, fine = results.files["learned"], results.files["learned"]["rerank"]
    gain, low, high = fine["gains"][f"map_at_{K}"]
    verdict = "gains" if low > 0 else "loses" if high < 0 else "changes nothing certain,"
    ten = fine["gains"].get("precision_at_10")
    at_ten = f" Precision at 10 changes by {100 * ten[0]:+.2f} points." if ten else ""
    parts = {name: 1e3 * fine["seconds"][name] for name in ("coarse", "fine")}
    return (
        f"**Is the rerank worth its time?** By code alone mAP at 1,000 is "
        f"{percent(told['map_at_k'])}; ranking what the codes find by feature {verdict} "
        f"{100 * abs(gain):.2f} points ({100 * low:+.2f} to {100 * high:+.2f}).{at_ten} It takes "
        f"{parts['fine']:.2f} ms a query beside {parts['coarse']:.2f} ms for the codes. What it "
        "gives beyond that is an order among the many images that share a code."
    )


def by_bits(results: Results) -> str:
    """Published mAP beside ours."""
    if "hashes" not in results.files or not results.files["learned"]["protocol"]["name"].startswith(
        "cifar10"
    ):
        return ""
    rows: list[list[str]] = [
        [name, *(percent(value) for value in values), "-"]
        for name, values in CIFAR10_MAP_AT_1000.items()
    ]
    shown = {f"{name}, published": dict(zip(CIFAR10_BITS, values, strict=True))
             for name, values in CIFAR10_MAP_AT_1000.items()}  # fmt: skip
    for name, features in (("hashes", "own features"), ("hashes_generic", "ImageNet features")):
        if name not in results.files:
            continue
        for method, values in _by_method(results.of_hashes(name), f"map_at_{K}").items():
            title = f"{_TITLES[method]}, {features}"
            rows.append([bold(title), *(percent(values.get(bits))
                                        for bits in (*CIFAR10_BITS, 128))])  # fmt: skip
            shown[title] = values
    figures.bars_by_bits(shown, results.pictures / "map_by_bits.png")
    return "\n".join([
        "## CIFAR-10: mean average precision at 1,000, by bits",
        "",
        f"Published: {PAPER}, whose protocol this is: 10,000 test images ask the 50,000 training "
        "images, by code alone. Ours, in bold: EfficientNet-Lite0, fine-tuned with 48 bits; the "
        "other hash functions are learned on its features, or on those of the same "
        "network as ImageNet left it. Images come in an order drawn at random, which decides among "
        "equal codes. The published hash functions had hand-made features (GIST) "
        "to learn from.",
        "",
        table(["method", *(f"{bits} bits" for bits in (*CIFAR10_BITS, 128))], rows),
        "",
        results.picture("map_by_bits", "mean average precision by method and bits"),
    ])  # fmt: skip


def hash_functions(results: Results) -> str:
    """All measures of all hash functions at one width."""
    parts = []
    for name, title in (
        ("hashes", "the network's own features"),
        ("hashes_generic", "features of a network that never saw these images"),
    ):
        if name not in results.files:
            continue
        rows = [
            [
                bold(_TITLES[one["method"]]) if one["method"] == OWN else _TITLES[one["method"]],
                "yes" if one["method"] in _LABELS else "no",
                between(one["means"][f"map_at_{K}"], one["intervals"][f"map_at_{K}"]),
                percent(one["means"]["map_all"]),
                percent(one["means"]["map_tie_aware"]),
                percent(one["means"]["radius2_precision"]),
            ]
            for one in results.of_hashes(name)
            if one["bits"] == _BITS
        ]
        head = ["hash function", "labels", "mAP at 1,000", "mAP", "mAP, ties random",
                "precision within 2"]  # fmt: skip
        parts += [f"### {_BITS} bits on {title}", "", table(head, rows), ""]
    return "\n".join(["## Hash functions on the same features", "", *parts]) if parts else ""


def curves(results: Results) -> str:
    """Precision by rank and over recall, all methods."""
    if "hashes" not in results.files:
        return ""
    by_rank: dict[str, Curve] = {}
    by_recall: dict[str, Curve] = {}
    for name, suffix in (("hashes", ""), ("hashes_generic", ", ImageNet features")):
        for one in results.of_hashes(name) if name in results.files else ():
            if one["bits"] != _BITS or (suffix and one["method"] not in ("itq", "latent")):
                continue
            title = _TITLES[one["method"]] + suffix
            near = [rank for rank in one["ranks"] if rank <= K]
            by_rank[title] = (near, one["curves"]["precision"][: len(near)])
            by_recall[title] = (one["curves"]["recall"], one["curves"]["precision"])
    for name, told in results.files.get("descriptors", {}).items():
        if name in ("hog", "dsift-vlad", "colour"):
            ranks, precision = (
                told["rerank"]["curves"]["ranks"],
                told["rerank"]["curves"]["precision"],
            )
            by_rank[f"{name}, by feature"] = (ranks, precision)
    precision_by_rank(by_rank, results.pictures / "precision_by_rank.png")
    precision_recall(by_recall, results.pictures / "precision_recall.png")
    return "\n".join([
        f"## Curves at {_BITS} bits",
        "",
        results.picture("precision_by_rank", "precision at every rank, all methods"),
        "",
        results.picture("precision_recall", "precision over recall, all methods"),
    ])  # fmt: skip


def descriptors(results: Results) -> str:
    """Descriptors without a network."""
    if "descriptors" not in results.files:
        return ""
    rows = [
        [name, str(told["pixels"]), percent(told["rerank"][f"map_at_{K}"]),
         percent(told["rerank"]["precision_at"]["100"]),
         percent(told["map_at_k"]), percent(told["precision_at"]["100"])]
        for name, told in results.files["descriptors"].items()
    ]  # fmt: skip
    queries = next(iter(results.files["descriptors"].values()))["queries"]
    head = ["descriptor", "side", "mAP at 1,000, all images by feature", "precision at 100",
            f"mAP at 1,000, ITQ of {_BITS} bits", "precision at 100"]  # fmt: skip
    return "\n".join([
        "## Descriptors without a network",
        "",
        f"{queries:,} queries. Images are warped to a square of that side, in pixels.",
        "",
        table(head, rows),
    ])  # fmt: skip


def unseen(results: Results) -> str:
    """Classes that nothing was learned from."""
    if "unseen" not in results.files:
        return ""
    told = results.files["unseen"]
    rows = [
        [_TITLES[one["method"]], "yes" if one["method"] in _LABELS else "no",
         between(one["means"]["map_all"], one["intervals"]["map_all"])]
        for one in results.of_hashes("unseen")
    ]  # fmt: skip
    return "\n".join([
        "## Classes never seen",
        "",
        f"Hash functions learned from {len(told['seen'])} classes, asked for the others "
        f"({', '.join(told['unseen'])}), on ImageNet features, {_BITS} bits. An order at random "
        f"has {percent(told['chance'], 0)}. What labels teach of some classes need not help "
        "others.",
        "",
        table(["hash function", "labels", "mAP"], rows),
    ])  # fmt: skip


def not_run(results: Results) -> str:
    """What the machine or its data did not allow."""
    return """## Not run here

| setting | why | where it can be |
|---|---|---|
| the paper's AlexNet, 12, 32 and 48 bits | ImageNet weights have to be downloaded | `scripts/get_models.sh alexnet`, then `tools/train.py --solver prototxt/alexnet_48/solver.prototxt --weights caffe_models/alexnet/bvlc_alexnet.caffemodel` |
| the thesis' VGG19, 8 bits, Caltech-101 | weights and images have to be downloaded | `scripts/get_models.sh vgg19`, `scripts/01_get_data.sh caltech101`, `prototxt/vgg19_8`, `tools/evaluate.py --protocol caltech101-40` |
| the whole EfficientNet-Lite0 trained with 12, 32 and 128 bits | hours of training each | `tools/make_net.py --net efficientnet_lite0 --bits 12 --classes 10`, then `tools/train.py` |
| the whole network trained on some classes, asked for others | hours of training | `tools/hold_out.py`, `tools/train.py`, `tools/evaluate.py --protocol cifar10-unseen` |
"""  # noqa: E501
