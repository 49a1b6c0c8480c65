"""How long engines take, so that it can be trusted: sessions, statistics, verdicts."""
