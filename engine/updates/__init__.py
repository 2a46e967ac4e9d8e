"""What a belief becomes in the light of data."""
