"""How good a head is, in numbers: pictures, lips, identity."""
