"""Output for people: tables in the terminal, CSV, Markdown, and pages that need no network."""
