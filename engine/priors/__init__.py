"""Distribution families, beliefs and prior updates."""
