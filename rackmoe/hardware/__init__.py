"""What the machine is: profiles and topology."""
