"""Indexes of format 1, written once and kept: every version to come must read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from latenthash.errors import DataError, LatentHashError, StorageError
from latenthash.files import sha256
from latenthash.index import BucketIndex, IndexWriter, SearchOptions
from latenthash.index.bucket.generation import commit, load_manifest, open_generation
from latenthash.index.bucket.verify import verify
from numbered import contents

DATA = Path(__file__).with_name("data")
STORAGES = ("float16", "int8")


def expected(storage: str) -> dict[int, list[object]]:
    known = json.loads((DATA / f"index_v1_{storage}.json").read_text())
    return {int(number): image for number, image in known.items()}


def readable(folder: Path) -> dict[int, list[object]]:
    return {
        number: [name, label, content.hex(), code.hex(), [*feature]]
        for number, (name, label, content, code, feature) in contents(verify(folder)).items()
    }


@pytest.fixture(params=STORAGES)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, shutil.copytree(DATA / f"index_v1_{request.param}", tmp_path / "index")


def test_a_frozen_index_is_read(frozen: tuple[str, Path]) -> None:
    storage, folder = frozen
    assert readable(folder) == expected(storage)
    assert not (folder / "lock").exists()  # reading leaves no trace


def test_a_frozen_index_is_searched_and_changed(frozen: tuple[str, Path]) -> None:
    storage, folder = frozen
    known = expected(storage)
    index = BucketIndex(folder)
    for number, (name, _, _, code, feature) in known.items():
        query = np.frombuffer(bytes.fromhex(str(code)), np.uint8)[None]
        [hits] = index.search(query, np.array([feature], np.float32), SearchOptions(top=1))
        assert (hits.ids.tolist(), hits.distances.tolist()) == ([number], [0])
        assert index.names(hits.ids) == [name]
    with IndexWriter(folder) as writer:
        writer.remove([2])
        writer.compact()
    after = readable(folder)
    assert {n: one[:4] for n, one in after.items()} == {
        n: one[:4] for n, one in known.items() if n != 2
    }


def lie(folder: Path, **facts: object) -> None:
    commit(folder, {**load_manifest(folder), **facts})


def test_a_newer_format_is_named(frozen: tuple[str, Path]) -> None:
    lie(frozen[1], format=2)
    with pytest.raises(DataError, match=r"manifest\.json: format 2, this version reads up to 1"):
        open_generation(frozen[1])


@pytest.mark.parametrize(
    "facts",
    [{"dim": 10**12}, {"bits": 0}, {"images": -1}, {"storage": "float8"}, {"segments": 3},
     {"model_folder": "../.."}, {"classes": [1]}, {"feature_loss": {}},
     {"tombstones": {"file": "../x", "count": 1, "bytes": 1, "sha256": ""}}],
)  # fmt: skip
def test_senseless_manifests_are_refused(
    frozen: tuple[str, Path], facts: dict[str, object]
) -> None:
    lie(frozen[1], **facts)
    with pytest.raises(StorageError, match=f"{next(iter(facts))} makes no sense"):
        open_generation(frozen[1])


def test_a_manifest_edited_by_hand_is_refused(frozen: tuple[str, Path]) -> None:
    path = frozen[1] / "manifest.json"
    path.write_text(path.read_text().replace('"photos"', '"Photos"'))
    with pytest.raises(StorageError, match=r"manifest\.json: damaged"):
        open_generation(frozen[1])


def test_counts_that_lie_are_found_by_verify(frozen: tuple[str, Path]) -> None:
    lie(frozen[1], images=8)
    with pytest.raises(StorageError, match=r"manifest\.json: its counts"):
        verify(frozen[1])


def rewrite(folder: Path, file: str, change: str) -> None:
    """Contradict the other arrays, with a checksum that fits."""
    manifest = load_manifest(folder)
    entry = manifest["segments"][0]
    path = folder / "segments" / entry["name"] / file
    array = np.lib.format.open_memmap(path, "r+")
    array[[0, 1]] = array[[1, 0]] if change == "swap" else array[[0, 0]]
    array.flush()
    entry["files"][file]["sha256"] = sha256(path)
    commit(folder, manifest)


@pytest.mark.parametrize("change", ["swap", "repeat"])
@pytest.mark.parametrize(
    "file",
    ["buckets.npy", "offsets.npy", "positions.npy", "rows.npy", "ids.npy", "name_order.npy",
     "content_order.npy"],
)  # fmt: skip
def test_arrays_that_contradict_each_other_are_found(
    frozen: tuple[str, Path], file: str, change: str
) -> None:
    rewrite(frozen[1], file, change)
    with pytest.raises(LatentHashError, match=r"\.npy: (damaged|contradicts)"):
        verify(frozen[1])


def test_removed_ids_must_be_of_images(frozen: tuple[str, Path]) -> None:
    folder = frozen[1]
    path = next((folder / "tombstones").iterdir())
    array = np.lib.format.open_memmap(path, "r+")
    array[1] = 10**6
    array.flush()
    tombstones = {**load_manifest(folder)["tombstones"], "sha256": sha256(path)}
    lie(folder, tombstones=tombstones)
    with pytest.raises(StorageError, match="counts"):
        verify(folder)
