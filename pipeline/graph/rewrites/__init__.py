"""Nodes written another way: for a parser that reads them wrongly or lacks them, and for an older opset."""
