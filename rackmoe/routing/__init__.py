"""Which experts the tokens choose and where these experts are."""
