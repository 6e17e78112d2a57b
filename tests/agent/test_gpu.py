"""GPUs by NVML: a stand-in answers in the place of `pynvml`'s functions (`test_gpu_real` asks
the real one)."""

import pynvml
import pytest
from structlog.testing import capture_logs

from gamepipe.agent.encoder import UNLIMITED
from gamepipe.agent.gpu import GpuMeter, detect_gpus
from gamepipe.model.node import GpuFacts, GpuUse
from tests.agent.nvml import Card, Nvml


def test_every_device_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml([Card(), Card(name="NVIDIA L4")]).install(monkeypatch)
    geforce, l4 = detect_gpus()
    assert geforce == GpuFacts(
        index=0, model="NVIDIA GeForce RTX 4090", memory_bytes=24 << 30, uuid="GPU-0", encoders=8
    )
    assert (l4.index, l4.encoders) == (1, UNLIMITED)
    assert nvml.opened == 0


@pytest.mark.parametrize("error", [pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_NoPermission])
@pytest.mark.parametrize("name", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"])
def test_a_device_that_fails_is_skipped_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, error: type[pynvml.NVMLError]
) -> None:
    nvml = Nvml([Card(), Card(broken={name: error}), Card()]).install(monkeypatch)
    with capture_logs() as logs:
        assert [gpu.index for gpu in detect_gpus()] == [0, 2]
    assert [(log["action"], log["gpu"]) for log in logs] == [("gpu.skipped", 1)]
    assert nvml.opened == 0


def test_a_library_that_fails_means_no_devices_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError_LibRmVersionMismatch

    Nvml([Card()]).install(monkeypatch)
    for name in ("nvmlDeviceGetCount", "nvmlInit"):
        monkeypatch.setattr(pynvml, name, fail)
        with capture_logs() as logs:
            assert detect_gpus() == ()
        assert [log["action"] for log in logs] == ["gpus.unknown"]


def test_a_machine_without_a_driver_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with capture_logs() as logs:
        assert (detect_gpus(), GpuMeter().sample()) == ((), ())
    assert logs == []


@pytest.mark.parametrize(
    ("model", "driver", "encoders"),
    [
        ("NVIDIA GeForce RTX 4090", "550.54.14", 8),
        ("NVIDIA GeForce GTX 1660 Ti", "535.1", 5),
        ("GeForce RTX 2080", "470.9", 3),
        ("NVIDIA GeForce RTX 4090", "unknown", 0),
        ("NVIDIA GeForce MX450", "550.1", 0),
        ("Tesla T4", "470.9", UNLIMITED),
        ("NVIDIA L40S", "550.1", UNLIMITED),
        ("NVIDIA A10G", "550.1", UNLIMITED),
        ("Tesla V100-SXM2-16GB", "550.1", UNLIMITED),
        ("Quadro RTX 6000", "550.1", UNLIMITED),
        ("NVIDIA RTX A4000", "550.1", UNLIMITED),
        ("NVIDIA RTX 6000 Ada Generation", "550.1", UNLIMITED),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "570.1", UNLIMITED),
        ("GRID T4-8Q", "550.1", 0),
        ("NVIDIA A10-24Q", "550.1", 0),
        ("NVIDIA A100-SXM4-40GB", "550.1", 0),
        ("NVIDIA H100 PCIe", "550.1", 0),
        ("Riva 128", "550.1", 0),
    ],
)
def test_encoders_are_those_of_the_product_family(
    monkeypatch: pytest.MonkeyPatch, model: str, driver: str, encoders: int
) -> None:
    Nvml([Card(name=model)], driver=driver).install(monkeypatch)
    assert [gpu.encoders for gpu in detect_gpus()] == [encoders]


def test_geforce_cards_share_the_limit_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    Nvml([Card(), Card(name="NVIDIA L4"), Card(), Card()]).install(monkeypatch)
    assert [gpu.encoders for gpu in detect_gpus()] == [2, UNLIMITED, 2, 2]


def test_a_sample_says_what_each_device_is_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    Nvml([Card()]).install(monkeypatch)
    (use,) = GpuMeter().sample()
    assert use == GpuUse(index=0, share=0.25, memory_used_bytes=1 << 30, encoder_sessions=2)


def test_what_a_device_does_not_know_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ("nvmlDeviceGetUtilizationRates", "nvmlDeviceGetEncoderStats")
    card = Card(broken=dict.fromkeys(absent, pynvml.NVMLError_NotSupported))
    Nvml([card]).install(monkeypatch)
    with capture_logs() as logs:
        assert GpuMeter().sample() == (GpuUse(index=0, memory_used_bytes=1 << 30),)
    assert logs == []


def test_an_old_driver_counts_what_it_keeps_for_itself_as_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = {"nvmlDeviceGetMemoryInfo_v2": pynvml.NVMLError_FunctionNotFound}
    Nvml([Card(), Card(broken=old)]).install(monkeypatch)
    new, old_card = GpuMeter().sample()
    assert (new.memory_used_bytes, old_card.memory_used_bytes) == (1 << 30, 1324 << 20)


def test_a_device_that_is_lost_is_told_once_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml([Card(), Card()]).install(monkeypatch)
    meter = GpuMeter()
    nvml.cards[0].broken["nvmlDeviceGetHandleByIndex"] = pynvml.NVMLError_GpuIsLost
    with capture_logs() as logs:
        for _ in range(3):
            assert [use.index for use in meter.sample()] == [1]
    assert [(log["action"], log["gpu"]) for log in logs] == [("gpu.silent", 0)]
    nvml.cards[0].broken.clear()
    assert [use.index for use in meter.sample()] == [0, 1]
