"""What a run is told: every knob, how a recipe is read, and what a target makes of it. Imports no torch."""
