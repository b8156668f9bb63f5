"""Every knob, declared once: type, range, effect, and the files and classes behind options."""
