import pytest

from latenthash.errors import EngineError
from latenthash.threads import thread_count, thread_environment, usable_cores


def test_asked_for_counts(monkeypatch):
    monkeypatch.setenv("LATENTHASH_THREADS", "3")
    assert thread_count() == 3
    assert thread_count(5) == 5
    monkeypatch.delenv("LATENTHASH_THREADS")
    assert 1 <= thread_count() <= min(8, usable_cores())


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_bad_counts(monkeypatch, value):
    monkeypatch.setenv("LATENTHASH_THREADS", value)
    with pytest.raises(EngineError, match=value):
        thread_count()
    with pytest.raises(EngineError, match="0"):
        thread_count(0)


def test_environment():
    environment = thread_environment(2)
    assert environment["OPENBLAS_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "2"
    assert "PATH" in environment


def test_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert usable_cores(tmp_path, tmp_path / "missing") == 12


@pytest.mark.parametrize(("limit", "cores"), [("max 100000", 12), ("150000 100000", 2)])
def test_quota_of_version_2(monkeypatch, tmp_path, limit, cores):
    """The limit of a group above counts as well."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/cpu.max").write_text(limit + "\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    assert usable_cores(tmp_path, own) == cores


@pytest.mark.parametrize(("limit", "cores"), [("-1", 12), ("400000", 4), ("20000", 1)])
def test_quota_of_version_1(monkeypatch, tmp_path, limit, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    group = tmp_path / "cpu,cpuacct/docker"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(limit + "\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    own = tmp_path / "cgroup"
    own.write_text("5:memory:/x\n4:cpu,cpuacct:/docker\n")
    assert usable_cores(tmp_path, own) == cores
