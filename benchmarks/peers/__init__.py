"""Other libraries, on the same classifier and the same inputs."""
