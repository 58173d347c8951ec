"""The operations of IAM that clients of DWS call."""

from stillhouse.domain.api_operations.operation import Need, Operation

TOKENS = (
    Operation(
        "KeystoneCreateUserTokenByPassword",
        "POST",
        "/v3/auth/tokens",
        Need(open_to_all=True),
        checks_password=True,
    ),
    # The versions of identity are asked before there is a token, and say nothing about anyone.
    Operation("KeystoneListVersions", "GET", "/", Need(open_to_all=True)),
    Operation("KeystoneShowVersion", "GET", "/v3", Need(open_to_all=True), note="`/v3/` too"),
    Operation(
        "KeystoneShowCatalog",
        "GET",
        "/v3/auth/catalog",
        Need(),
        note="`dws` and `dwsv1`; clients.md says at which address",
    ),
    Operation("KeystoneListProjects", "GET", "/v3/projects", Need()),
    Operation("KeystoneListAuthDomains", "GET", "/v3/auth/domains", Need()),
    Operation("CreateTemporaryAccessKeyByToken", "POST", "/v3.0/OS-CREDENTIAL/securitytokens", Need()),
)
