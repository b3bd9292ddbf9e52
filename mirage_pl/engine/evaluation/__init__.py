"""Items scored by measures under conditions."""
