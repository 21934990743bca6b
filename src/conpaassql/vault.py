"""Secrets at rest: encrypted with one key that lies beside the store, readable by its owner alone.

A sealed blob is one byte of version, the nonce, and what AES-256-GCM makes of the secret; the
purpose that it was sealed for is authenticated, so that a blob that was moved to another row of
the store does not open there.  A copy of the store without the key file tells no secret.
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from conpaassql import pki
from conpaassql.errors import ConfigError

KEY_FILE = "master.key"
KEY_BYTES = 32
VERSION = b"\x01"
NONCE_BYTES = 12  # NIST SP 800-38D 8.2.2: random, for less than 2**32 secrets per key


class Vault:
    """One master key.  ``where`` is its file, for people."""

    def __init__(self, key: bytes, where: str) -> None:
        self._cipher = AESGCM(key)
        self._where = where

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """Return the secret encrypted; each time another blob."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + nonce + self._cipher.encrypt(nonce, secret, purpose.encode())

    def open(self, blob: bytes, purpose: str) -> bytes:
        """Return the secret that was sealed for ``purpose``.

        Raises:
            ConfigError: the blob was sealed with another key, for another purpose, by a later version, or changed.
        """
        if blob[:1] != VERSION:
            says = f"The secret of {purpose} was sealed by another version of this program; use that, or give it anew."
            raise ConfigError(says, file=self._where)
        nonce, sealed = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, sealed, purpose.encode())
        except (InvalidTag, ValueError) as exc:
            raise ConfigError(
                f"The secret of {purpose} does not open with the key in {self._where}; put the key file back that "
                "belongs to this store, or give the secret anew.",
                file=self._where,
            ) from exc


def open_vault(state_dir: Path) -> Vault:
    """Return the vault of a state directory, with a new key if there is none yet.

    Raises:
        ConfigError: the key file holds something else, or others may read it.
        OSError: it cannot be read or written.
    """
    file = state_dir / KEY_FILE
    if not file.exists():
        pki.write_private(file, secrets.token_bytes(KEY_BYTES))
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{file} does not hold a master key of {KEY_BYTES} bytes; put it back.", file=str(file))
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"{file} may be read by others; say chmod 600 {file}.", file=str(file))
    return Vault(key, str(file))
