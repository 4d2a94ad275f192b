"""Where trials train: Ray actors that run the app, one segment after another."""
