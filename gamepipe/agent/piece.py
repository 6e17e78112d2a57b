"""Texts cut into pieces that a log line may have."""

from gamepipe.limit import LINE_BYTES


def cut(text: str) -> list[str]:
    """Pieces of at most 64 KiB in UTF-8, between characters; at least one."""
    if len(text) * 4 <= LINE_BYTES:
        return [text]
    data, pieces = text.encode("utf-8", errors="replace"), list[str]()
    while len(data) > LINE_BYTES:
        end = LINE_BYTES
        while data[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        pieces.append(data[:end].decode())
        data = data[end:]
    return [*pieces, data.decode()]
