from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate import evaluate
from latenthash.hamming import pack, unpack


def code_set(path: Path, count: int, seed: int, **changes: Any) -> CodeSet:
    rng = np.random.default_rng(seed)
    labels = changes.get("labels", rng.integers(0, 4, count, dtype=np.int32))
    noise = rng.random((count, 10)) < 0.2
    bits = (np.arange(10) % 4 == labels[:, None]) ^ noise
    zeros = np.zeros((count, 32), np.uint8)
    rows = Rows([str(n) for n in range(count)], labels, zeros[:, :3].astype(np.float16),
                pack(bits), zeros)  # fmt: skip
    model = {"deploy_sha256": "d", "weights_sha256": changes.get("weights", "w")}
    with CodeWriter(path, 10, 3, count) as writer:
        writer.append(rows)
        writer.finish({"stage": "extract", "format": 1, "bits": 10, "model": model})
    return CodeSet(path)


def test_equals_a_naive_evaluation(tmp_path: Path) -> None:
    with (
        code_set(tmp_path / "d.h5", 150, 0) as database,
        code_set(tmp_path / "q.h5", 70, 1) as queries,
    ):
        result = evaluate(database, queries, k=40)
        scores, first = [], []
        codes, labels = unpack(database.codes, 10), database.labels
        for code, label in zip(unpack(queries.codes, 10), queries.labels, strict=True):
            ranked = sorted(range(150), key=lambda row: (int((code != codes[row]).sum()), row))[:40]
            relevant = labels[ranked] == label
            scores.append(
                average_precision_score(relevant, -np.arange(40)) if relevant.any() else 0
            )
            first.append(relevant[:10].mean())
    assert result.map_at_k == pytest.approx(np.mean(scores))
    assert result.precision_at[10] == pytest.approx(np.mean(first))
    assert (result.k, result.queries, result.database) == (40, 70, 150)
    assert sorted(result.precision_at) == [1, 5, 10, 40]


def test_k_beyond_the_database_is_cut(tmp_path: Path) -> None:
    with (
        code_set(tmp_path / "d.h5", 15, 0) as database,
        code_set(tmp_path / "q.h5", 3, 1) as queries,
    ):
        assert evaluate(database, queries).k == 15


def test_codes_of_another_network_are_refused(tmp_path: Path) -> None:
    with (
        code_set(tmp_path / "d.h5", 9, 0) as database,
        code_set(tmp_path / "q.h5", 3, 1, weights="other") as queries,
        pytest.raises(MismatchError, match="weights_sha256 'other'"),
    ):
        evaluate(database, queries)


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    unknown = np.full(3, -1, np.int32)
    with (
        code_set(tmp_path / "d.h5", 9, 0) as database,
        code_set(tmp_path / "q.h5", 3, 1, labels=unknown) as queries,
        pytest.raises(DataError, match=r"q\.h5: has no labels"),
    ):
        evaluate(database, queries)
