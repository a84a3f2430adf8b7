"""What can be done to organizations, their members, teams and policies, invitations, tokens, views and shares."""

from accounts.actions import invitations, orgs, shares, teams, tokens, views

__all__ = ["invitations", "orgs", "shares", "teams", "tokens", "views"]
