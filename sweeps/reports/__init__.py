"""A sweep as one self-contained HTML page of plots, tables and words."""
