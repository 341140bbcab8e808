"""Public keys that fire tokens are signed with: read from PEM, JWK or JWKS text, and chosen by what each may do.

A library's key reader is not enough: it takes keys meant for encryption, short RSA keys, keys whose own `alg`
contradicts their curve. Here a key carries the algorithms it may verify, and nothing else is ever tried with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from hermes_cron.errors import ConfigError, TokenRejected
from hermes_cron.privacy import fault
from hermes_cron.verify.objects import read_loose_object
from hermes_cron.verify.reasons import Reason

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

RSA_BITS = range(2048, 8193)
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDDSA = frozenset({"EdDSA"})
_CURVES = {"secp256r1": frozenset({"ES256"}), "secp384r1": frozenset({"ES384"}), "secp521r1": frozenset({"ES512"})}
_READERS: dict[str, type[RSAAlgorithm | ECAlgorithm | OKPAlgorithm]] = {
    "RSA": RSAAlgorithm,
    "EC": ECAlgorithm,
    "OKP": OKPAlgorithm,
}
_MAX_KEY_FILE = 64 * 1024

# CVE-2017-15361: moduli of one maker's chips, which can be factored, are powers of 65537 modulo all of these.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA = tuple((prime, frozenset(pow(65537, power, prime) for power in range(prime))) for prime in _ROCA_PRIMES)


@dataclass(frozen=True, slots=True)
class Key:
    """One public key, its id if it has one, and the algorithms it may verify; a token names one of them."""

    kid: str | None
    algorithms: frozenset[str]
    public: PublicKey


@runtime_checkable
class Keys(Protocol):
    """Where the keys are had from."""

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys, at least one, that a token with this `kid` and `alg` may be signed with.

        Raises:
            TokenRejected: There is none.
            KeysUnavailable: That cannot be told now.
        """

    def ready(self) -> bool:
        """Whether there are keys to judge a token with, without a new fetch."""


def read_jwk(jwk: Mapping[str, Any]) -> Key:
    """The public key of a JWK (RFC 7517), if it is one that may verify signatures.

    Raises:
        ValueError: It is of another kind or for another use, too weak, private, or damaged.
    """
    kid, use, operations = jwk.get("kid"), jwk.get("use", "sig"), jwk.get("key_ops", ["verify"])
    if kid is not None and not isinstance(kid, str):
        raise ValueError("its kid is not text")
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("it is not for verifying signatures")
    if "d" in jwk:
        raise ValueError("it is a private key, and no longer a secret")
    reader = _READERS.get(str(jwk.get("kty")))
    if reader is None:
        raise ValueError("it is not of kty RSA, EC or OKP")
    try:
        public: Any = reader.from_jwk(dict(jwk))
    except Exception as error:
        # Whatever a library makes of a stranger's key, it is one odd key.
        raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    algorithms = _algorithms(public)
    if "alg" in jwk:
        algorithms = algorithms.intersection([str(jwk["alg"])])
    if not algorithms:
        raise ValueError("its alg is not one of its kind of key")
    return Key(kid, algorithms, public)


def read_pem(text: str) -> Key:
    """The public key of a PEM text (`-----BEGIN PUBLIC KEY-----`).

    Raises:
        ValueError: It is none, of another kind, or too weak.
    """
    if text.count("-----BEGIN ") != 1:
        raise ValueError("it is not one key")
    try:
        public: Any = load_pem_public_key(text.strip().encode())
    except Exception as error:
        raise ValueError(f"it is not a public key in PEM ({type(error).__name__})") from error
    return Key(None, _algorithms(public), public)


def read_jwks(document: Mapping[str, Any]) -> tuple[Key, ...]:
    """The usable keys of a JWK set, at least one; the others are passed over, for one odd key spoils nothing.

    Raises:
        ValueError: It is not a set, or has no usable key.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("it has no list of keys")
    found = []
    for jwk in listed:
        try:
            found.append(read_jwk(jwk))
        except (ValueError, AttributeError):
            continue
    if not found:
        raise ValueError("it has no usable key")
    return tuple(found)


def read_keys(text: str) -> tuple[Key, ...]:
    """The keys of a text: PEM, JWK or JWKS.

    Raises:
        ValueError: It is none of these, or has no usable key.
    """
    if "-----BEGIN " in text:
        return (read_pem(text),)
    document = read_loose_object(text.encode())
    return read_jwks(document) if "keys" in document else (read_jwk(document),)


class PinnedKeys:
    """Keys that were given to us once, with the configuration. One without an id is good for any `kid`."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that a token with this `kid` and `alg` may be signed with."""
        known = [key for key in self._keys if kid is None or key.kid is None or key.kid == kid]
        if not known:
            raise TokenRejected(Reason.UNKNOWN_KEY)
        return fitting(known, kid, algorithm)

    def ready(self) -> bool:
        """Always."""
        return True


def pinned_keys(setting: str) -> PinnedKeys:
    """The keys that `cron.chronos.nas_public_key` gives, as a text or as the name of the file it is in.

    Raises:
        ConfigError: There is no such file, or no usable key in it.
    """
    field, given = "cron.chronos.nas_public_key", setting.strip()
    if "-----BEGIN " not in given and not given.startswith("{"):
        try:
            path = Path(given).expanduser()
            unsafe = fault(path)
            if unsafe:
                # Who can put a key there signs fires.
                raise ConfigError(f"{field} is not believed: {unsafe}.", field=field)
            with path.open(encoding="utf-8") as file:
                given = file.read(_MAX_KEY_FILE)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"{field} names a file that cannot be read: {type(error).__name__}.", field=field,
                hint="Give the name of a file, or the text of a key in PEM or JWK.",
            ) from error  # fmt: skip
    if "PRIVATE KEY" in given:
        raise ConfigError(f"{field} leads to a private key.", field=field, hint="Give the public half only.")
    try:
        return PinnedKeys(read_keys(given))
    except ValueError as error:
        raise ConfigError(
            f"{field} gives no usable key: {error}.", field=field,
            hint="Give one public key as PEM or JWK: RSA of 2048 bits or more, EC P-256, P-384, P-521, or Ed25519.",
        ) from error  # fmt: skip


def fitting(known: Sequence[Key], kid: str | None, algorithm: str) -> Sequence[Key]:
    """Those of the keys with a token's `kid` that may verify its `alg`; without a `kid` there may be one only.

    Raises:
        TokenRejected: There is none, or a token without `kid` could be signed with any of several.
    """
    found = [key for key in known if algorithm in key.algorithms]
    if not found:
        raise TokenRejected(Reason.WRONG_KEY)
    if len(found) > (1 if kid is None else 4):
        raise TokenRejected(Reason.AMBIGUOUS_KEY)
    return found


def _algorithms(public: object) -> frozenset[str]:
    if isinstance(public, RSAPublicKey):
        modulus = public.public_numbers().n
        if public.key_size not in RSA_BITS or all(modulus % prime in powers for prime, powers in _ROCA):
            raise ValueError("it is an RSA key of another size than 2048 to 8192 bits, or one that can be factored")
        return _RSA
    if isinstance(public, EllipticCurvePublicKey) and public.curve.name in _CURVES:
        return _CURVES[public.curve.name]
    if isinstance(public, Ed25519PublicKey | Ed448PublicKey):
        return _EDDSA
    raise ValueError("it is not a public key of RSA, of P-256, P-384 or P-521, or Ed25519")
