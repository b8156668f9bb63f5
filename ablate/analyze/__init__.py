"""From records to frames, contrasts and verdicts: numbers in, numbers out."""
