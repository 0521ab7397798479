"""What people read: tables in the terminal, CSV, Markdown, and pages that need no network."""
