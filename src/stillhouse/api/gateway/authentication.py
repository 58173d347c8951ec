"""Authenticates a request's sender by signature, by signature and security token, or by token.

A refusal has the same words and takes the same path whether the key exists or not: the signature of an
unknown key is verified against a secret that does not exist.
"""

import hashlib
import hmac
import secrets
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.types import Receive

from stillhouse.api.gateway import signature
from stillhouse.api.gateway.raw_body import read_body
from stillhouse.api.gateway.signature import Claim, RawRequest
from stillhouse.control.access.callers import Signer, find_signer, find_token_holder
from stillhouse.control.access.credentials import digest
from stillhouse.control.context import Caller, Control
from stillhouse.errors import Unauthenticated

_LOCKED = "AK access failed to reach the limit,forbidden"


async def authenticate(
    control: Control, request: RawRequest, receive: Receive, address: str
) -> tuple[Caller, bytes]:
    """Return the caller and the body, once they are known to belong together.

    A signature counts before a token. A fault in the headers alone is refused before the body is read.
    """
    if signature.headers_of(request, "x-auth-token") and not signature.headers_of(request, "authorization"):
        token = signature.the_header(request, "x-auth-token")
        holder = await run_in_threadpool(find_token_holder, control, token)
        return replace(holder, address=address), await read_body(receive)
    claim = signature.read_claim(request, control.clock.now())
    return await _signed(control, request, claim, receive, address)


async def _signed(
    control: Control, request: RawRequest, claim: Claim, receive: Receive, address: str
) -> tuple[Caller, bytes]:
    subject = (claim.access_key, address)
    if control.key_lockouts.is_locked(subject, control.clock.monotonic()):
        raise _as(claim, signature.refused(_LOCKED))
    signer = await run_in_threadpool(find_signer, control, claim.access_key)
    # Strangers' bodies are not kept, since they could fill the memory.
    body = await read_body(receive, keep=signer is not None)
    try:
        secret_key = secrets.token_hex(20) if signer is None else signer.secret_key
        signature.verify(request, hashlib.sha256(body).hexdigest(), claim, secret_key)
        if signer is None:
            raise signature.refused("verify aksk signature fail")
        _check_security_token(request, signer)
    except Unauthenticated as refusal:
        control.key_lockouts.failed(subject, control.clock.monotonic())
        raise _as(claim, refusal) from None
    control.key_lockouts.succeeded(subject)
    return replace(signer.caller, address=address), body


def _check_security_token(request: RawRequest, signer: Signer) -> None:
    """Check the security token. SDKs sign its header, Terraform adds it afterwards; both must send the right one."""
    if not signer.token_digest:
        return
    shown = signature.the_header(request, "x-security-token")
    if not hmac.compare_digest(digest(shown), signer.token_digest):
        raise signature.refused("verify security token fail")


def _as(claim: Claim, refusal: Unauthenticated) -> Unauthenticated:
    refusal.who = claim.access_key[:64]
    return refusal
