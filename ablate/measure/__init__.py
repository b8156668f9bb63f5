"""What can be measured of a trained network; nothing here asks, prints or draws."""
