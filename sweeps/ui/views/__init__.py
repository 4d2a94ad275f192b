"""What a page shows, a file a part; they lay out what other modules compute."""
