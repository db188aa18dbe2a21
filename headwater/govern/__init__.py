"""Who may do what: users, roles, privileges, audit. Values go in and out; no room below asks."""
