"""What detection costs in time, and how it fares on photographs: used from a checkout."""
