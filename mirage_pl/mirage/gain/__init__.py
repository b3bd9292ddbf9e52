"""How much a row's helper images help to answer it."""
