"""Headers of all answers of the console: what a browser may load, and where it may show a page."""

# Scripts and style come from this service's own files alone; nothing in a page's text is ever run.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
PRIVATE = [(b"cache-control", b"no-store")]
LASTING = [(b"cache-control", b"public, max-age=31536000, immutable")]
