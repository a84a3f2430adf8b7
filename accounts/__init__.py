"""People: users, organizations, teams, invitations, tokens, policies, views; their guards."""
