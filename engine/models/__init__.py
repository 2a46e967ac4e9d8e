"""Model families behind one small protocol."""
