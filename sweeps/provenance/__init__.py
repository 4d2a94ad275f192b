"""What a trial was trained from and on, recorded as it trains, read again and compared."""
