"""A sweep's best configurations trained again with new seeds, and what that tells of them."""
