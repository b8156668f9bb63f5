"""Turns contrasts into pages, tables and figures. Nothing is computed here."""
