"""What A2D is compared with, and the comparison itself: used from a checkout, never installed."""
