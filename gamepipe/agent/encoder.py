"""How many NVENC sessions a card runs at once, from its name: NVML does not tell.

`nvmlDeviceGetEncoderCapacity` is the part of an encoder that is idle now, not a number of sessions.
So the numbers follow NVIDIA's "Video Encode and Decode GPU Support Matrix".
"""

import re

UNLIMITED = 1000
"""Of a card whose driver sets no limit: as many as a pipeline may ask for. What they take of the
card's power is for `share` to say."""
_UNLIMITED = re.compile(
    r"(?:Tesla |NVIDIA )(?:P4|P40|M60|T4G?|A2|A10[GM]?|A16|A40|L2|L4|L20|L40[SG]?"
    r"|V100-(?:SXM|PCIE|FHHL)[-\w]*)"
    r"|(?:NVIDIA )?(?:Quadro )?RTX (?:A?[2-9]000|A[45]500|5880|4500)(?: \d+GB| Ada Generation)?"
    r"|NVIDIA RTX PRO [\w ]+"
)
_GEFORCE = re.compile(r"(?:NVIDIA )?GeForce (?:RTX [2-9]0|GTX 1[06])\d\d\b.*")
_GEFORCE_LIMITS = ((550, 8), (530, 5), (0, 3))
"""(driver from this version on, sessions of all GeForce cards of a machine together). Where a later
driver allows more, `--facts` can declare them."""


def is_limited(model: str) -> bool:
    """Whether the card shares one limit with all others of its kind in the machine."""
    return _GEFORCE.fullmatch(model) is not None


def sessions_of(model: str, *, driver: str, limited_cards: int) -> int:
    """Sessions that may be promised of one card; 0: unknown, or it has no encoder (A100, H100).

    Args:
        model: its name by NVML, such as `NVIDIA GeForce RTX 4090`.
        driver: version of the driver, such as `550.54.14`.
        limited_cards: cards of the machine that share the limit: each gets an equal part of it.
    """
    if _UNLIMITED.fullmatch(model):
        return UNLIMITED
    major = driver.partition(".")[0]
    if not is_limited(model) or not major.isdecimal():
        return 0
    limit = next(sessions for version, sessions in _GEFORCE_LIMITS if int(major) >= version)
    return limit // max(limited_cards, 1)
