"""What the sections of spec files are made of: the base class, the types of common values, and smaller parts."""
