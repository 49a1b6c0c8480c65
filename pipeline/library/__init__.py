"""jetpress inside somebody's own training code: a module in hand is pruned, its optimizer too, saved and loaded."""
