"""Promote a kept model to the champion's file: candidates, the gate, and publishing."""
