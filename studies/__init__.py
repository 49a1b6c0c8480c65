"""The team's own measurements: what stands in studies/log and in docs/, each by a command. Not part of the package."""
