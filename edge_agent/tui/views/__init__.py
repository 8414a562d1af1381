"""The eight screens, each a function from what is known to rows."""
