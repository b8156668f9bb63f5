"""From contrasts to pages, tables and figures: everything here is written, nothing computed."""
