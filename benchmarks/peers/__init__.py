"""What people would use instead, on the same classifier and the same inputs."""
