"""What trials use of what they are given, and what would fit."""
