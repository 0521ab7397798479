"""Engines place trials on processes; each speaks the messages of `search.engines.messages`."""
