"""What runs a sweep: the lanes behind Ray Tune, what is shown, and what is kept."""
