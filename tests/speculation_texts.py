"""Prompts whose answers copy them, and prompts whose answers do not: where n-grams draft well, and where badly."""

from typing import Final

_PASSAGE: Final = (
    "The lighthouse at Cape Wren was built in 1847 by the engineer Marta Holm, who had studied the tides of the "
    "bay for eleven years. Its lamp burned whale oil until 1903, then paraffin, and since 1962 electricity. Every "
    "spring the keeper painted the lower third of the tower red, so that fishing boats could tell it from the "
    "church of Saint Brannoc. In the storm of November 1911 the sea broke forty-two panes of glass, and the "
    "keeper's daughter Ines held a lantern in the empty frame until dawn. Seventeen ships came home that night. "
    "The log of the harbour lists their names: Aurora, Beatrix, Corvus, Dorothea, Elsinore, Fulmar, Grete, "
    "Halcyon, Isolde, Juniper, Kestrel, Lorelei, Marigold, Nereid, Osprey, Petrel and Quince."
)
COPY: Final = f"{_PASSAGE}\n\n{_PASSAGE}\n\nThe lighthouse at Cape Wren"
"""A passage twice and its first words once more: a model goes on with the rest of it, word for word."""
COPIED: Final = _PASSAGE.removeprefix("The lighthouse at Cape Wren")
"""What follows."""
FREE: Final = (
    "Once upon a time a clever fox and an old heron",
    "The three most useful things to know about rivers are",
    "In the year 2140 the first city on the Moon",
)
"""Beginnings that are gone on with freely."""
