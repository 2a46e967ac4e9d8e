"""What both processes read and write in the store, in the terms of the domain."""
