"""Rates of the network between two looks at the counters."""

from dataclasses import dataclass, replace

from gamepipe.agent.network import NetworkMeter


@dataclass(frozen=True)
class Card:
    bytes_recv: int = 0
    bytes_sent: int = 0


class Machine:
    """Its counters and its clock."""

    def __init__(self, **cards: Card) -> None:
        self.cards = cards
        self.seconds = 100.0
        self.meter = NetworkMeter(lambda: dict(self.cards), lambda: self.seconds)

    def passes(self, seconds: float, name: str = "eth0", received: int = 0, sent: int = 0) -> None:
        self.seconds += seconds
        card = self.cards[name]
        self.cards[name] = replace(
            card, bytes_recv=card.bytes_recv + received, bytes_sent=card.bytes_sent + sent
        )


def test_rates_are_per_second_since_the_last_look() -> None:
    machine = Machine(eth0=Card(5000, 7000), wlan0=Card())
    machine.passes(2.0, received=1000, sent=400)
    machine.passes(0.0, "wlan0", received=200)
    assert machine.meter.sample() == (600.0, 200.0)
    machine.passes(1.0, sent=1)
    assert machine.meter.sample() == (0.0, 1.0)


def test_traffic_within_the_machine_does_not_count() -> None:
    inside = {name: Card() for name in ("lo", "docker0", "veth1a2b", "br-9f")}
    machine = Machine(eth0=Card(), **inside)
    for name in inside:
        machine.passes(1.0, name, received=1000, sent=1000)
    assert machine.meter.sample() == (0.0, 0.0)


def test_counters_that_start_anew_or_appear_give_no_rate() -> None:
    machine = Machine(eth0=Card(5000, 5000))
    machine.cards = {"eth0": Card(), "eth1": Card(9000, 9000)}
    machine.passes(1.0)
    assert machine.meter.sample() == (0.0, 0.0)


def test_two_looks_at_the_same_moment_give_no_rate() -> None:
    machine = Machine(eth0=Card())
    machine.passes(0.0, received=5)
    assert machine.meter.sample() == (0.0, 0.0)


def test_the_counters_of_this_machine_can_be_read() -> None:
    received, sent = NetworkMeter().sample()
    assert received >= 0.0
    assert sent >= 0.0
