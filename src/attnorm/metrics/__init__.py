"""What is measured of trained networks and their images."""
