"""Model families as the contract knows them, one module each, and the registry that lists them."""
