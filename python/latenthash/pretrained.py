"""How images are prepared for given weights: what training wrote, or what a readme says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import NetError
from .manifest import read_manifest

README = "readme.md"
_FENCE = "---"


def known_settings(weights: Path) -> tuple[dict[str, Any], str | None]:
    """Preprocessing, as JSON, that belongs to `weights`, and the feature blob if it is named.

    Weights of ours have the manifest of their training beside them, whose TEST phase
    counts; published ones lie beside a readme.md whose front matter names them.

    Raises:
        NetError: neither is there, or the readme's numbers cannot be read.
    """
    manifest = weights.with_name(weights.name + ".json")
    if manifest.is_file():
        settings: dict[str, Any] = read_manifest(manifest, "train")["preprocess"]
        return settings, None
    readme = weights.with_name(README)
    facts = front_matter(readme) if readme.is_file() else {}
    if facts.get("file") != weights.name:
        raise NetError(
            f"{weights}: neither {manifest.name} nor a {README} beside it says how its images "
            "are prepared",
            "train with train.py, or put the file back",
        )
    try:
        return _settings(facts), facts.get("feature")
    except (KeyError, ValueError) as error:
        raise NetError(f"{readme}: its front matter is damaged ({error!r})", "mend it") from error


def front_matter(readme: Path) -> dict[str, str]:
    """`key: value` lines between the file's first two lines of three dashes."""
    lines = readme.read_text().splitlines()
    if not lines or lines[0] != _FENCE or _FENCE not in lines[1:]:
        return {}
    head = lines[1 : lines.index(_FENCE, 1)]
    pairs = (line.split(":", 1) for line in head if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _settings(facts: dict[str, str]) -> dict[str, Any]:
    """As `Preprocess.to_json` has it; without `resize` images are warped to the input."""
    side = int(facts["input"])
    resize = int(facts.get("resize", side))
    mean = [float(value) for value in facts["mean"].split()] if "mean" in facts else None
    return {
        "channels": int(facts.get("channels", 3)),
        "resize": [resize, resize],
        "crop": [side, side],
        "mean": mean * 3 if mean and len(mean) == 1 else mean,
        "scale": float(facts.get("scale", 1)),
    }


def published_weights(folder: Path) -> Path:
    """The caffemodel that a folder of `caffe_models/` is for.

    Raises:
        NetError: no such folder, or the weights were not fetched yet.
    """
    readme = folder / README
    name = front_matter(readme).get("file") if readme.is_file() else None
    if name is None:
        raise NetError(f"{folder}: no published weights are known", "give --weights")
    if not (folder / name).is_file():
        raise NetError(f"{folder / name}: not there yet", f"scripts/get_models.sh {folder.name}")
    return folder / name
