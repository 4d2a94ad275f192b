"""A sweep's folder, on a disk or in a bucket, and what may be written there by whom."""
