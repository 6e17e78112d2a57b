"""How many files this process may open: each agent, and each reader, is a socket."""

import resource

import structlog

_log = structlog.get_logger()

FEW_FILES = 8192
"""Below it a fleet of thousands finds no room."""


def raise_file_limit(*, few: int = FEW_FILES) -> int:
    """Use all that the system grants this process; say so when that is little. The limit now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < few:
        _log.warning(
            "files.few",
            action="files.few",
            limit=hard,
            remedy=f"each agent is an open file: for more than about {hard // 2} of them raise "
            "the hard limit (ulimit -Hn, LimitNOFILE= of systemd, ulimits: of Compose)",
        )
    return hard
