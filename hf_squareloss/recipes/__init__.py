"""What the example scripts share: command lines, stages of a run, data, demos and metrics. Nothing imports these."""
