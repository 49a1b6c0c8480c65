"""Other people's trainers around a pruned network, each in an environment of its own: never a dependency."""
