"""The servicers: one module per service of the contract."""
