"""The verbs of the command line, a file a family. What a verb needs is imported when it runs."""
