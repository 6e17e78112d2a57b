"""The measure of the paper, on examples worked out by hand."""

import numpy as np
import pytest

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.simulation.gradient import Gradient, scores
from gamepipe.simulation.replay import BEGIN


def fleet(*shares: float) -> Fleet:
    """One node with a device for each share that is taken."""
    gpus = tuple(GpuFacts(index=index, model="T4") for index in range(len(shares)))
    facts = NodeFacts(cpu=8, memory_bytes=1 << 30, disk_bytes=0, gpus=gpus)
    held = [
        Allocation(
            pipeline_id=f"p{index}",
            generation=1,
            node_id="n1",
            resources=Resources(gpu=GpuRequest(share=share)),
            gpu_devices=(index,),
            created_at=BEGIN,
        )
        for index, share in enumerate(shares)
        if share
    ]
    return Fleet([GameNode(id="n1", facts=facts)], held)


def growth(there: Fleet, asked: Resources, *classes: Resources) -> tuple[float, int]:
    grown, slots = Gradient(there, classes).growth(Need(resources=asked), np.array([0]))
    return float(grown[0]), int(slots[0])


def share(part: float, cpu: float = 0.0) -> Resources:
    return Resources(cpu=cpu, gpu=GpuRequest(share=part))


def test_a_device_that_is_too_small_for_the_work_is_taken_first() -> None:
    # 0.4 is a fragment to tasks of 0.5 already: taking it makes less of it.
    assert growth(fleet(0.0, 0.6), share(0.4), share(0.5)) == pytest.approx((-0.4, 1))


def test_breaking_a_device_counts_what_is_left_of_it() -> None:
    assert growth(fleet(0.0), share(0.6), share(0.5)) == pytest.approx((0.4, 0))


def test_cores_that_are_gone_make_fragments_of_all_devices() -> None:
    # 2 devices, and 8 cores of which each task needs 6.
    asked = Resources(cpu=4.0)
    assert growth(fleet(0.0, 0.0), asked, share(0.5, cpu=6.0))[0] == pytest.approx(2.0)


def test_classes_count_by_how_often_they_come() -> None:
    classes = [share(0.5)] * 3 + [Resources(gpu=GpuRequest(count=1))]
    # What is left, 0.5, is a fragment to the whole-device tasks alone: one in four.
    assert growth(fleet(0.0), share(0.5), *classes) == pytest.approx((0.125, 0))


def test_to_tasks_without_a_gpu_all_that_is_left_is_a_fragment() -> None:
    # To half of the classes; to the others 0.5 of 1.0 stays usable.
    classes = [share(0.5), Resources(cpu=1.0)]
    assert growth(fleet(0.0), share(0.5), *classes) == pytest.approx((-0.25, 0))


def test_scores_fall_in_steps_and_no_growth_beats_any() -> None:
    growths = np.array([-0.1, 0.0, 1e-7, 0.001, 0.03, 0.05, np.inf])
    assert scores(growths).tolist() == [52, 50, 50, 49, 49, 48, 0]


def test_of_devices_that_are_nearly_as_good_the_first_is_taken() -> None:
    # 0.22 or 0.21 would be left that is of no use for 0.5: the same step.
    assert growth(fleet(0.48, 0.49), share(0.3), share(0.5))[1] == 0
