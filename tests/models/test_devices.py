from __future__ import annotations

import runpy
import sys

import pytest
import tensorflow as tf

from siamese.cli.loading import model_context
from siamese.models import devices
from siamese.models.devices import (
    choose_embedding_precision,
    choose_training_precision,
    describe_device,
    enable_memory_growth,
    has_gpu,
    may_have_gpu,
)
from siamese.utils.threads import count_cores


@pytest.fixture(autouse=True)
def no_traces_of_a_gpu(monkeypatch, tmp_path):
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "_DEVICES", tmp_path)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)


def pretend(monkeypatch, *details):
    """Make TensorFlow list one GPU with each of these details."""
    gpus = [
        tf.config.PhysicalDevice(f"/physical_device:GPU:{place}", "GPU")
        for place in range(len(details))
    ]
    known = dict(zip(gpus, details, strict=True))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    for place in range(len(details)):
        (devices._DEVICES / f"nvidia{place}").touch()
    monkeypatch.setattr(tf.config.experimental, "get_device_details", known.__getitem__)
    return gpus


def nvidia(name, *capability):
    return {"device_name": name, "compute_capability": capability}


@pytest.mark.parametrize("name", ["nvidia0", "dxg", "kfd"])
def test_there_may_be_a_gpu_if_there_is_a_device_file(monkeypatch, tmp_path, name):
    monkeypatch.setattr(sys, "platform", "linux")
    assert not may_have_gpu()
    (tmp_path / name).touch()
    assert may_have_gpu()


def test_there_may_be_a_gpu_if_one_is_requested(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")
    assert may_have_gpu()


def test_there_may_be_a_gpu_on_systems_without_device_files(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert may_have_gpu()


@pytest.mark.parametrize(
    ("details", "training", "embedding"),
    [
        ([], "float32", "float32"),
        ([{}], "float32", "float32"),
        ([nvidia("GTX 1080", 6, 1)], "float32", "float32"),
        ([nvidia("V100", 7, 0)], "mixed_float16", "mixed_float16"),
        ([nvidia("T4", 7, 5)], "mixed_float16", "mixed_float16"),
        ([nvidia("A100", 8, 0)], "mixed_bfloat16", "mixed_float16"),
        ([nvidia("B200", 10, 0)], "mixed_bfloat16", "mixed_float16"),
        ([nvidia("T4", 7, 5), nvidia("A100", 8, 0)], "mixed_float16", "mixed_float16"),
    ],
    ids=str,
)
def test_the_precision_is_one_that_the_first_gpu_supports(
    monkeypatch, details, training, embedding
):
    pretend(monkeypatch, *details)
    assert has_gpu() == bool(details)
    assert choose_training_precision() == training
    assert choose_embedding_precision() == embedding


def test_the_line_names_the_first_gpu(monkeypatch):
    h100 = nvidia("NVIDIA H100", 9, 0)
    pretend(monkeypatch, h100)
    assert describe_device() == "GPU: NVIDIA H100 (compute capability 9.0), mixed_bfloat16"
    pretend(monkeypatch, nvidia("Tesla T4", 7, 5), h100)
    expected = "GPU: Tesla T4 (compute capability 7.5), the first of 2, mixed_float16"
    assert describe_device() == expected
    pretend(monkeypatch, {})
    assert describe_device() == "GPU: /physical_device:GPU:0, float32"


def test_the_line_says_that_there_is_no_gpu(monkeypatch):
    expected = f"no GPU: TensorFlow uses the CPU ({count_cores()} cores)"
    assert describe_device() == expected
    for nothing in ("", "void", "none"):
        monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", nothing)
        assert describe_device() == expected


@pytest.mark.parametrize(
    ("there", "asked_for", "hidden", "cuda", "said"),
    [
        (False, "all", None, True, "start the container with --gpus all"),
        (False, "all", None, False, "use the GPU image"),
        (True, None, None, False, "use the GPU image"),
        (True, None, None, True, "nvidia-smi"),
        (True, "all", None, True, "nvidia-smi"),
        (True, None, "-1", True, "hidden by CUDA_VISIBLE_DEVICES"),
        (True, None, "", True, "hidden by CUDA_VISIBLE_DEVICES"),
    ],
)
def test_the_line_says_what_to_do_about_a_missing_gpu(
    monkeypatch, tmp_path, there, asked_for, hidden, cuda, said
):
    if there:
        (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidia-caps").mkdir()
    for name, value in (("NVIDIA_VISIBLE_DEVICES", asked_for), ("CUDA_VISIBLE_DEVICES", hidden)):
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: cuda)
    line = describe_device()
    assert line.startswith("no GPU: ") and said in line and "\n" not in line


def test_memory_growth_is_enabled_on_every_gpu(monkeypatch):
    gpus = pretend(monkeypatch, {}, {})
    grown = []
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on))
    )
    enable_memory_growth()
    assert grown == [(gpus[0], True), (gpus[1], True)]


def test_memory_growth_that_is_enabled_too_late_is_no_error(monkeypatch):
    def refuse(gpu, on):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    pretend(monkeypatch, {})
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    enable_memory_growth()


def test_a_command_names_its_gpu_on_standard_error(monkeypatch, capsys):
    with model_context(load_keras=True):
        pass
    assert capsys.readouterr() == ("", "")
    pretend(monkeypatch, nvidia("NVIDIA H100", 9, 0))
    with model_context(load_keras=True):
        print("from Keras")
    assert capsys.readouterr() == ("", f"{describe_device()}\nfrom Keras\n")


def test_run_as_a_program_it_prints_one_line(capsys):
    runpy.run_path(devices.__file__, run_name="__main__")
    printed = capsys.readouterr()
    assert printed.err == "" and len(printed.out.splitlines()) == 1
    assert printed.out.startswith("no GPU: ")
