"""build_caffe.sh --cuda: its folder, toolkit and checks on a tiny stand-in; the real build."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from test_build_caffe import RECIPE, ROOT, Checkout

CUDA_RECIPE = (
    RECIPE
    + """
file(WRITE ${CMAKE_BINARY_DIR}/options.txt
  "${CMAKE_CUDA_COMPILER}|${CMAKE_CUDA_ARCHITECTURES}|${USE_CUDNN}")
install(FILES ${CMAKE_BINARY_DIR}/options.txt DESTINATION share)
"""
)
NVCC = "#!/bin/sh\necho release 13.0\n"
OBJDUMP = "#!/bin/sh\nfor arch in {}; do echo ELF file 1: libcaffe.1.sm_$arch.cubin; done\n"


class CudaCheckout(Checkout):
    """A checkout whose recipe for CUDA is tiny too."""

    def __init__(self, tree: Path, cache: Path) -> None:
        super().__init__(tree, cache)
        self.write("cmake/caffe_cuda/CMakeLists.txt", CUDA_RECIPE)
        self.write("cmake/caffe_cuda/toolkit.txt", "")

    def options(self) -> list[str]:
        return (self.cuda_prefix / "share/options.txt").read_text().split("|")

    @property
    def cuda_prefix(self) -> Path:
        return Path((self.tree / ".venv/caffe-prefix-cuda").read_text().rstrip("\n"))


@pytest.fixture
def checkout(tmp_path: Path) -> CudaCheckout:
    return CudaCheckout(tmp_path / "a checkout", tmp_path / "cache")


@pytest.fixture
def toolkit(tmp_path: Path) -> Path:
    """A CUDA toolkit whose compiler tells its version, and no more."""
    folder = tmp_path / "cuda toolkit"
    executable(folder / "bin/nvcc", NVCC)
    executable(folder / "bin/cuobjdump", OBJDUMP.format("75 90"))
    return folder


def executable(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)


def test_build_for_gpus_lies_beside_that_for_cpus(checkout: CudaCheckout, toolkit: Path) -> None:
    assert checkout.build()[0] == 0
    for_cpus = checkout.prefix
    code, output = checkout.build("--cuda", CUDA_HOME=str(toolkit))
    assert code == 0, output
    assert checkout.prefix == for_cpus
    assert checkout.cuda_prefix != for_cpus
    assert checkout.options() == [f"{toolkit}/bin/nvcc", "90", "OFF"]
    inputs = (checkout.cuda_prefix / "share/inputs.txt").read_bytes()
    assert hashlib.sha256(inputs).hexdigest().startswith(checkout.cuda_prefix.name)
    assert b"release 13.0" in inputs

    code, output = checkout.build("--cuda", CUDA_HOME=str(toolkit))
    assert code == 0
    assert "building" not in output


def test_recipe_for_gpus_leaves_the_build_for_cpus(checkout: CudaCheckout) -> None:
    assert checkout.build()[0] == 0
    checkout.write("cmake/caffe_cuda/CMakeLists.txt", CUDA_RECIPE + "# changed\n")
    code, output = checkout.build(CUDA_HOME="/nowhere")
    assert code == 0
    assert "building" not in output


@pytest.mark.parametrize("changed", ["arch", "cudnn", "toolkit", "recipe", "host compiler"])
def test_changed_input_makes_another_build(
    changed: str, checkout: CudaCheckout, toolkit: Path
) -> None:
    assert checkout.build("--cuda", CUDA_HOME=str(toolkit))[0] == 0
    first = checkout.cuda_prefix
    options, env = ["--cuda"], {"CUDA_HOME": str(toolkit)}
    if changed == "arch":
        options += ["--arch", "75;90"]
    elif changed == "cudnn":
        (toolkit / "include").mkdir()
        (toolkit / "include/cudnn.h").touch()
        options.append("--cudnn")
    elif changed == "toolkit":
        executable(toolkit / "bin/nvcc", NVCC.replace("13.0", "13.1"))
    elif changed == "recipe":
        checkout.write("cmake/caffe_cuda/CMakeLists.txt", CUDA_RECIPE + "# changed\n")
    else:
        env["CUDAHOSTCXX"] = "g++"
    code, output = checkout.build(*options, **env)
    assert code == 0, output
    assert checkout.cuda_prefix != first
    assert checkout.options()[1:] == [
        "75;90" if changed == "arch" else "90",
        "ON" if changed == "cudnn" else "OFF",
    ]


def test_library_without_code_for_a_gpu_is_not_kept(checkout: CudaCheckout, toolkit: Path) -> None:
    code, output = checkout.build("--cuda", "--arch", "80;90", CUDA_HOME=str(toolkit))
    assert code == 1
    assert "holds no code for sm_80" in output
    assert checkout.cached() == ["failed.log", "lock"]
    assert not (checkout.tree / ".venv/caffe-prefix-cuda").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cuda", "--arch", "9.0"], "without dots"),
        (["--cuda", "--arch", "90;"], "without dots"),
        (["--cuda", "--arch"], "without dots"),
        (["--arch", "90"], "go with --cuda"),
        (["--cudnn"], "go with --cuda"),
        (["--cuda", "--cudnn"], "no cudnn.h"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], said: str, checkout: CudaCheckout, toolkit: Path
) -> None:
    code, output = checkout.build(*options, CUDA_HOME=str(toolkit))
    assert code == 2
    assert said in output


def test_folder_without_a_compiler(checkout: CudaCheckout, tmp_path: Path) -> None:
    code, output = checkout.build("--cuda", CUDA_HOME=str(tmp_path))
    assert code == 2
    assert "holds no bin/nvcc" in output


# ---- the toolkit that is put together from packages


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> str:
    """A wheel as NVIDIA's are, without links; its line for toolkit.txt."""
    files |= {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\n"
        "Version: 1.0\n".encode(),
        f"{name}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{name}-1.0.dist-info/RECORD": b"",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-1.0-py3-none-any.whl").write_bytes(buffer.getvalue())
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}\n"


@pytest.fixture
def index(checkout: CudaCheckout, tmp_path: Path) -> dict[str, str]:
    """Two packages that share a folder; the environment in which pip finds only them."""
    root = "nvidia/cu13"
    compiler = {
        f"{root}/bin/nvcc": NVCC.encode(),
        f"{root}/bin/cuobjdump": OBJDUMP.format("90").encode(),
        f"{root}/nvvm/bin/cicc": b"",
    }
    library = {f"{root}/lib/libcudart.so.13": b"", f"{root}/include/cuda.h": b""}
    lines = write_wheel(tmp_path / "index", "nvcc", compiler)
    lines += write_wheel(tmp_path / "index", "runtime", library)
    checkout.write("cmake/caffe_cuda/toolkit.txt", lines)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (tmp_path / "index").as_uri()}
    return {"CUDA_HOME": "", **offline}


def test_packages_become_a_toolkit(checkout: CudaCheckout, index: dict[str, str]) -> None:
    code, output = checkout.build("--cuda", **index)
    assert code == 0, output
    (toolkit,) = (checkout.cache.parent / "cuda").iterdir()
    assert checkout.options()[0] == f"{toolkit}/bin/nvcc"
    assert os.access(toolkit / "nvvm/bin/cicc", os.X_OK)
    for path in ("lib/libcudart.so", "lib64/libcudart.so", "targets/x86_64-linux/lib/libcudart.so"):
        assert (toolkit / path).resolve() == toolkit / "lib/libcudart.so.13"
    assert (toolkit / "targets/x86_64-linux/include/cuda.h").is_file()

    checkout.write(f"{checkout.source.name}/include/a.h", "int changed;\n")
    code, output = checkout.build("--cuda", **index)
    assert code == 0, output
    assert "building" in output
    assert "fetching" not in output


@pytest.mark.parametrize("fault", ["out of reach", "other content"])
def test_packages_that_cannot_be_had(
    fault: str, checkout: CudaCheckout, index: dict[str, str], tmp_path: Path
) -> None:
    if fault == "out of reach":
        shutil.rmtree(tmp_path / "index")
        (tmp_path / "index").mkdir()
    else:
        write_wheel(tmp_path / "index", "runtime", {"nvidia/cu13/lib/libcudart.so.13": b"other"})
    code, output = checkout.build("--cuda", **index)
    assert code == 2
    assert "CUDA_HOME=DIR builds with a toolkit that you have" in output
    assert checkout.cached() == ["lock"]
    assert not (checkout.cache.parent / "cuda").exists()


# ---- the real one


@pytest.mark.slow
@pytest.mark.caffe
def test_real_build_holds_kernels_and_starts_without_a_gpu() -> None:
    """Into the cache of the user who runs this, as the build for CPUs; a minute if it is there."""
    subprocess.run([ROOT / "scripts/build_caffe.sh", "--cuda", "-j", "1"], check=True)
    prefix = Path((ROOT / ".venv/caffe-prefix-cuda").read_text().strip())
    bare = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""}
    for file in ("bin/caffe", "lib/libcaffe.so", "python/caffe/_caffe.so"):
        linked = subprocess.run(["ldd", prefix / file], capture_output=True, text=True, env=bare)
        assert "not found" not in linked.stdout
        for library in ("libcudart", "libcublas", "libcurand"):
            assert f"{library}.so" in linked.stdout, file
    symbols = subprocess.run(
        ["nm", "--demangle", "--defined-only", "--dynamic", prefix / "lib/libcaffe.so"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "caffe::ConvolutionLayer<float>::Forward_gpu" in symbols
    assert "caffe::SigmoidLayer<float>::Backward_gpu" in symbols
    asked = subprocess.run(
        [prefix / "bin/caffe", "device_query", "-gpu", "0"],
        capture_output=True, text=True, env={**bare, "GLOG_logtostderr": "1"},
    )  # fmt: skip
    assert asked.returncode != 0
    assert "cudaSuccess" in asked.stderr
