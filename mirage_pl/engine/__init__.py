"""What all verbs and families share; it knows no family."""
