"""From a kept model to the champion's file: what may be promoted, the gate, and how a promotion is written."""
