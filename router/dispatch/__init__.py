"""A request's life, decided in one pure object per model."""
