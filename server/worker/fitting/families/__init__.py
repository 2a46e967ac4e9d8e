"""Model families as the worker builds them, one module each, and the registry that lists them."""
