"""Where a model's weights come from: built-in names, folders and Hugging Face ids. See `source.resolve`."""
