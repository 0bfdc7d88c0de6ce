"""All backends are one interface, and importing it costs nothing that is not used."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import BACKENDS

import kernels

ROOT = Path(kernels.__file__).parent.parent
CONTRACT = kernels.CONTRACT | kernels.CRF_CONTRACT  # of all backends here
NAMES = [name for names in CONTRACT.values() for name in names]
BEYOND = {
    "reference": {"atrous_conv1d", "exact_gaussian", "simplex_of"},
    "cpu": {"release_pool", *kernels.FUSED},
    "cuda": {"launches", "release_pool", "select_device", "set_precision"},
}  # public, of one backend only

every_backend = pytest.mark.parametrize("backend", BACKENDS)


def public_functions(module):
    return {name for name, value in vars(module).items() if callable(value) and not name.startswith("_")}


@every_backend
@pytest.mark.parametrize("name", NAMES)
def test_signatures_are_those_of_the_reference(backend, name):
    function, oracle = (getattr(kernels.load(b), name) for b in (backend, "reference"))
    assert inspect.signature(function) == inspect.signature(oracle)


@every_backend
def test_a_backend_has_the_contract_and_nothing_else(backend):
    assert public_functions(kernels.load(backend)) == set(NAMES) | BEYOND[backend]


@every_backend
@pytest.mark.parametrize("file", CONTRACT)
def test_each_file_holds_its_names(backend, file):
    module = importlib.import_module(f"kernels.{backend}.{file}")
    for name in CONTRACT[file]:
        assert getattr(kernels.load(backend), name) is getattr(module, name)
        assert getattr(module, name).__module__ == module.__name__


def test_a_name_stands_in_one_file_only():
    assert len(set(NAMES)) == len(NAMES)


def test_kernels_never_import_minideeplab():
    files = list((ROOT / "kernels").rglob("*.py"))
    assert len(files) > 25
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            assert not any(module.split(".")[0] == "minideeplab" for module in modules), f"{path}:{node.lineno}"


@pytest.mark.parametrize("module", ["kernels", "kernels.geometry", "kernels.reference"])
def test_numba_is_imported_with_the_cpu_backend_only(module):
    code = f"import sys, {module}; print('numba' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_an_unknown_backend():
    with pytest.raises(ValueError, match="unknown backend 'tpu'; there are reference, cpu, cuda"):
        kernels.load("tpu")


@pytest.mark.skipif("cuda" in BACKENDS, reason="the simulator stands for a GPU")
def test_the_device_cuda_says_what_it_lacks():
    try:
        kernels.load("cuda")
    except ImportError as error:
        assert 'pip install -e ".[cuda13]"' in str(error)
    except RuntimeError as error:
        assert "found no usable GPU" in str(error) and "use the device cpu" in str(error)


def test_importing_the_project_leaves_cuda_alone():
    code = "import sys, minideeplab.train; print([name for name in sys.modules if '.cuda' in name])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("file", [*CONTRACT, "device"])
def test_numba_cuda_is_imported_in_one_file(file):
    source = (ROOT / "kernels" / "cuda" / f"{file}.py").read_text()
    assert ("from numba import cuda" in source) == (file == "device")


def test_the_device_of_arrays():
    assert kernels.device_of(np.ones(3), np.ones((2, 2), np.float32)) == "cpu"
    with pytest.raises(TypeError, match=r"expected a NumPy array, got list; wrap lists with numpy\.asarray"):
        kernels.device_of(np.ones(3), [1.0])


def test_threads_within_what_numba_was_started_with():
    before = kernels.num_threads()
    kernels.set_num_threads(1)
    assert kernels.num_threads() == 1
    kernels.set_num_threads(before)
    for count in (0, 100_000):
        with pytest.raises(ValueError, match=f"threads must be between 1 and .* got {count}"):
            kernels.set_num_threads(count)
