"""What a `config.json` says of a model's layers: attention, experts, images, and the matrices of each."""
