"""Every knob of every stage: one frozen dataclass for each table of a recipe, with the text of every key.

``docs/recipe.md`` and ``docs/recipe.schema.json`` are written from here. ``None`` and ``"auto"`` mean that the target
decides: see :mod:`jetpress.pipeline.recipe.resolve`. No torch here.
"""
