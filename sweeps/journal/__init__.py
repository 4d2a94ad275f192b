"""What has happened: events, the file they are in, and the trials they tell of."""
