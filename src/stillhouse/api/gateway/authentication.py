"""Authenticates a request's sender by signature, by signature and security token, or by token.

A refusal has the same words and takes the same path whether the key exists or not: the signature of an
unknown key is verified against a secret that does not exist.
"""

import hashlib
import hmac
import secrets
from dataclasses import replace

from stillhouse.api.gateway import signature
from stillhouse.api.gateway.signature import Claim, RawRequest
from stillhouse.control.access.callers import find_signer, find_token_holder
from stillhouse.control.access.credentials import digest
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control, Signer
from stillhouse.domain.access.senders import sender_of
from stillhouse.errors import Unauthenticated

_LOCKED = "AK access failed to reach the limit,forbidden"


def is_keeping_body(control: Control, request: RawRequest, address: str) -> bool:
    """Tell from the headers alone whether the body is worth keeping: strangers' bodies could fill the memory.

    Raises Unauthenticated for a fault in the headers, so that no body is read for them.
    """
    if token := _token(request):
        find_token_holder(control, token)
        return True
    return find_signer(control, _claim(control, request, address).access_key) is not None


def authenticate(control: Control, request: RawRequest, body: bytes, address: str) -> Caller:
    """Return the caller, once headers and body are known to be theirs. A signature counts before a token."""
    if token := _token(request):
        return replace(find_token_holder(control, token), address=address)
    claim = _claim(control, request, address)
    subject = (claim.access_key, sender_of(address))
    signer = find_signer(control, claim.access_key)
    lockouts = control.invented_lockouts if signer is None else control.key_lockouts
    try:
        secret_key = secrets.token_hex(20) if signer is None else signer.secret_key
        signature.verify(request, hashlib.sha256(body).hexdigest(), claim, secret_key)
        if signer is None:
            raise signature.mismatch(request, claim)
        _check_security_token(request, signer)
    except Unauthenticated as refusal:
        lockouts.failed(subject, control.clock)
        raise _as(claim, refusal) from None
    lockouts.succeeded(subject)
    return replace(signer.caller, address=address)


def _token(request: RawRequest) -> str:
    """Return the token that counts, or "" if a signature does."""
    if signature.headers_of(request, "authorization") or not signature.headers_of(request, "x-auth-token"):
        return ""
    return signature.the_header(request, "x-auth-token")


def _claim(control: Control, request: RawRequest, address: str) -> Claim:
    claim = signature.read_claim(request, control.clock.now())
    subject = (claim.access_key, sender_of(address))
    if any(
        one.is_locked(subject, control.clock) for one in (control.key_lockouts, control.invented_lockouts)
    ):
        raise _as(claim, signature.refused(_LOCKED))
    return claim


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
