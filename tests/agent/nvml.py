"""A stand-in for NVIDIA's library behind `pynvml`, for what a real GPU cannot be made to do."""

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
    """By processes."""
    reserved: int = 300 << 20
    """By the driver."""
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
        answers: dict[str, Callable[..., Any]] = {
            "nvmlDeviceGetName": lambda index: self.cards[index].name.encode(),
            "nvmlDeviceGetUUID": lambda index: f"GPU-{index}",
            "nvmlDeviceGetMemoryInfo": self._memory,
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

    def _memory(self, index: int, version: int | None = None) -> SimpleNamespace:
        """The first version of the call counts what the driver reserved as used."""
        card = self.cards[index]
        self._check("nvmlDeviceGetMemoryInfo_v2" if version else "", card)
        used = card.used if version else card.used + card.reserved
        return SimpleNamespace(total=card.memory, used=used)

    def _checked(self, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        def call(index: int, **options: Any) -> Any:
            self._check(name, self.cards[index])
            return answer(index, **options)

        return call

    def _check(self, name: str, card: Card) -> None:
        if (error := card.broken.get(name)) is not None:
            raise error
