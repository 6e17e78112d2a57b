"""A stand-in for NVIDIA's library behind `pynvml`: no machine of these tests has a GPU."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest


@dataclass
class Card:
    """One device. `broken`: names of functions that fail for it, and with which error."""

    name: str = "NVIDIA GeForce RTX 4090"
    memory: int = 24 << 30
    used: int = 1 << 30
    busy: int = 25
    sessions: int = 2
    broken: dict[str, type[pynvml.NVMLError]] = field(default_factory=dict)


@dataclass
class Nvml:
    cards: list[Card]
    driver: str = "550.54.14"
    opened: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> "Nvml":
        """Put it in the place of the functions of `pynvml`."""
        answers: dict[str, Callable[[int], Any]] = {
            "nvmlDeviceGetName": lambda index: self.cards[index].name.encode(),
            "nvmlDeviceGetUUID": lambda index: f"GPU-{index}",
            "nvmlDeviceGetMemoryInfo": lambda index: SimpleNamespace(
                total=self.cards[index].memory, used=self.cards[index].used
            ),
            "nvmlDeviceGetUtilizationRates": lambda index: SimpleNamespace(
                gpu=self.cards[index].busy
            ),
            "nvmlDeviceGetEncoderStats": lambda index: (self.cards[index].sessions, 60, 1000),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
        }
        for name, answer in answers.items():
            patch.setattr(pynvml, name, self._checked(name, answer))
        patch.setattr(pynvml, "nvmlInit", lambda: self._count(1))
        patch.setattr(pynvml, "nvmlShutdown", lambda: self._count(-1))
        patch.setattr(pynvml, "nvmlDeviceGetCount", lambda: len(self.cards))
        patch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: self.driver)
        return self

    def _count(self, change: int) -> None:
        self.opened += change

    def _checked(self, name: str, answer: Callable[[int], Any]) -> Callable[[int], Any]:
        def call(index: int) -> Any:
            if (error := self.cards[index].broken.get(name)) is not None:
                raise error
            return answer(index)

        return call
