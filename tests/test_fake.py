import numpy as np
import pytest

import tiny
from latenthash.engines import get_engine
from latenthash.errors import NetError


@pytest.fixture
def files(tmp_path):
    solver = tiny.write_all(tmp_path)
    (tmp_path / "run").mkdir()
    text = solver.read_text().replace('"net.', f'"{tmp_path}/net.')
    solver.write_text(text.replace('"run/', f'"{tmp_path}/run/'))
    return tmp_path


def test_get_engine():
    assert get_engine("fake").name == "fake"


def test_train_then_load(files):
    steps = []
    weights = get_engine("fake").train(files / "solver.prototxt", on_step=steps.append)
    assert weights == files / "run/tiny_iter_20.caffemodel"
    assert [step.phase for step in steps] == ["train"] * 10 + ["test"]
    batch = np.random.default_rng(0).random((5, 1, 8, 8), np.float32)
    with get_engine("fake").load(files / "deploy.prototxt", weights) as net:
        outputs = net.forward(batch, ["ip1", "codes"])
        again = net.forward(batch[:2], ["codes"])
    assert {name: (o.shape, o.dtype) for name, o in outputs.items()} == {
        "ip1": ((5, 6), np.float32),
        "codes": ((5, 8), np.float32),
    }
    np.testing.assert_array_equal(again["codes"], outputs["codes"][:2])
    assert ((outputs["codes"] > 0) & (outputs["codes"] < 1)).all()
    assert len(np.unique(outputs["codes"] > 0.5, axis=0)) > 1


def test_refusals(files):
    engine = get_engine("fake")
    weights = engine.train(files / "solver.prototxt")
    other = tiny.write_deploy(files / "other.prototxt", tiny.body(hidden=7))
    with pytest.raises(NetError, match=r"ip1.*latent"):
        engine.load(other, weights)
    with engine.load(files / "deploy.prototxt", weights) as net:
        with pytest.raises(NetError, match="fc7"):
            net.forward(np.zeros((1, 1, 8, 8), np.float32), ["fc7"])
        with pytest.raises(NetError, match=r"\(1, 8, 8\)"):
            net.forward(np.zeros((1, 3, 8, 8), np.float32), ["codes"])
