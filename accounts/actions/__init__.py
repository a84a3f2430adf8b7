"""What can be done to organizations, members, teams, policies, invitations, tokens, views, shares, files of lists; asking for access."""

from accounts.actions import access, exports, invitations, orgs, shares, teams, tokens, views

__all__ = ["access", "exports", "invitations", "orgs", "shares", "teams", "tokens", "views"]
