"""Other frameworks' training loops as trials, without a line of code in the app."""
