"""What a driver of these clouds was told in [iaas]: defaults filled in, and nothing missing."""

from collections.abc import Iterable, Mapping

from conpaassql.errors import ConfigError

_LONGEST_S = 3600.0


def chosen(options: Mapping[str, str], known: Mapping[str, str], required: Iterable[str]) -> dict[str, str]:
    """Return every known option, with its default where it was not given.

    Raises:
        ConfigError: one that is required is missing.
    """
    found = {key: options.get(key) or default for key, default in known.items()}
    for key in required:
        if not found[key]:
            raise ConfigError(f"[iaas] {key} is missing; the cloud needs it.", section="iaas", key=key)
    return found


def seconds(key: str, text: str) -> float:
    """Return a time above 0 and below an hour.

    Raises:
        ConfigError: it is none.
    """
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found < _LONGEST_S:
        raise ConfigError(f"[iaas] {key} = {text}: use a number of seconds, such as 30.", section="iaas", key=key)
    return found
