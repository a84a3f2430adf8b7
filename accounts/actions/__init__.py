"""What can be done to organizations, their members, teams and policies, invitations, tokens, views, shares and files of lists."""

from accounts.actions import exports, invitations, orgs, shares, teams, tokens, views

__all__ = ["exports", "invitations", "orgs", "shares", "teams", "tokens", "views"]
