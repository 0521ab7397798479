"""From a kept model to the file of the champion: candidates, the gate, and how a promotion is published."""
