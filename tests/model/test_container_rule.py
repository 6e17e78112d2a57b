"""What the texts of a container must look like."""

import pytest

from gamepipe.model import container_rule as rule


@pytest.mark.parametrize(
    ("wanted", "right", "wrong"),
    [
        (rule.PORT, ("1", "65535"), ("", "0", "65536", "-1", "1.5", "http", "٣", "1" * 9)),
        (rule.IP, ("127.0.0.1", "::1", "[::1]"), ("", "localhost", "1.2.3", "256.1.1.1")),
        (rule.TARGET, ("/", "/a b", "/dev/shm:rw"), ("", "a", "./a", "/a\0")),
        (rule.SOURCE, ("/a", "./a", "..", "data_1.x"), ("", "-a", "a b", "a/b", "/a\0")),
        (rule.HOSTNAME, ("a", "a-1.b"), ("", "-a", "a-", "a_b", "a..b", "a" * 64, "a.b" * 90)),
        (rule.IMAGE, ("a", "r:5000/a/b@sha256:x"), ("", "a b", "a\n", "a\0")),
    ],
)
def test_texts(wanted: rule.Rule, right: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert [text for text in right if not wanted.accepts(text)] == []
    assert [text for text in wrong if wanted.accepts(text)] == []
