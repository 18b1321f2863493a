"""How good a head is, in numbers: images, lips, identity."""
