"""Authenticates a request's sender by signature, by signature and security token, or by token.

A refusal has the same words and takes the same path whether the key exists or not: the signature of an
unknown key is verified against a secret that does not exist.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.types import Receive

from stillhouse.api.gateway import signature
from stillhouse.api.gateway.raw_body import UnprovenBodies, read_body
from stillhouse.api.gateway.signature import Claim, RawRequest
from stillhouse.control.access.callers import Signer, find_signer, find_token_holder
from stillhouse.control.access.credentials import digest
from stillhouse.control.context import Caller, Control
from stillhouse.domain.access.senders import sender_of
from stillhouse.errors import Unauthenticated

_LOCKED = "AK access failed to reach the limit,forbidden"


@dataclass(frozen=True)
class BodyLimits:
    """`most` bytes of this request's body, and a bound for all bodies whose senders are not proven."""

    most: int
    unproven: UnprovenBodies


async def authenticate(
    control: Control, request: RawRequest, receive: Receive, address: str, limits: BodyLimits
) -> tuple[Caller, bytes]:
    """Return the caller and the body, once they are known to belong together.

    A signature counts before a token. A fault in the headers alone is refused before the body is read.
    """
    if signature.headers_of(request, "x-auth-token") and not signature.headers_of(request, "authorization"):
        token = signature.the_header(request, "x-auth-token")
        holder = await run_in_threadpool(find_token_holder, control, token)
        return replace(holder, address=address), await read_body(receive, limits.most)
    claim = signature.read_claim(request, control.clock.now())
    return await _signed(control, request, claim, receive, address, limits)


async def _signed(
    control: Control, request: RawRequest, claim: Claim, receive: Receive, address: str, limits: BodyLimits
) -> tuple[Caller, bytes]:
    subject, now = (claim.access_key, sender_of(address)), control.clock.monotonic()
    if control.key_lockouts.is_locked(subject, now) or control.invented_lockouts.is_locked(subject, now):
        raise _as(claim, signature.refused(_LOCKED))
    signer = await run_in_threadpool(find_signer, control, claim.access_key)
    lockouts = control.invented_lockouts if signer is None else control.key_lockouts
    # The body of a caller who cannot have signed it is not kept; before it is verified, neither is much of the others'.
    with limits.unproven.share() as take:
        body = await read_body(receive, limits.most, keep=signer is not None, take=take)
    try:
        secret_key = secrets.token_hex(20) if signer is None else signer.secret_key
        signature.verify(request, hashlib.sha256(body).hexdigest(), claim, secret_key)
        if signer is None:
            raise signature.mismatch(request, claim)
        _check_security_token(request, signer)
    except Unauthenticated as refusal:
        lockouts.failed(subject, control.clock.monotonic())
        raise _as(claim, refusal) from None
    lockouts.succeeded(subject)
    return replace(signer.caller, address=address), body


def _check_security_token(request: RawRequest, signer: Signer) -> None:
    """Check the security token. SDKs sign its header, Terraform adds it afterwards; both must send the right one."""
    if not signer.token_digest:
        return
    shown = signature.the_header(request, "x-security-token")
    if not hmac.compare_digest(digest(shown), signer.token_digest):
        raise signature.refused("verify security token fail")


def _as(claim: Claim, refusal: Unauthenticated) -> Unauthenticated:
    refusal.who = signature.claimed_name(claim.access_key)
    return refusal
