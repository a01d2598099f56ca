"""The rights to push, asked before training: a read-only token would otherwise fail after the last step."""

from __future__ import annotations

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError


def require_push_rights(repo_id: str, *, token: str | None = None, private: bool | None = None) -> str:
    """Create the model repository if needed and return its full id.

    Raises:
        ValueError: no token, an invalid one, or one that cannot write to this repository; says which and what to do.
    """
    if (token or get_token()) is None:
        raise ValueError("push_to_hub needs a token and none was found: run `hf auth login`, set HF_TOKEN or hub_token")
    api = HfApi(token=token)
    try:
        user = api.whoami(cache=True)
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise ValueError(f"push_to_hub needs a valid token: {api.endpoint} refuses this one (401)") from error
    try:
        # create_repo(exist_ok=True) takes any readable repository for success (huggingface_hub 2.4): ask once more.
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        api.auth_check(repo_id, write=True)
    except HfHubHTTPError as error:
        if error.response.status_code not in (401, 403, 404):
            raise
        role = user.get("auth", {}).get("accessToken", {}).get("role")
        reason = "is read-only" if role == "read" else f"(role {role}) has no write access there"
        raise ValueError(f"push_to_hub cannot write to {repo_id}: the token of {user['name']} {reason}") from error
    return repo_id
