"""What is known of an artifact beside its files: one frozen record for each kind. No torch here.

A record is written into the artifact's ``artifact.json`` without its None fields and checked against its types when
it is read again; so a field that may be None has that as its default. Points are percent of a split's samples, where
the metric is top-1.
"""
