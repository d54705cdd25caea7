"""Env2 of the paper: the attacks, as the authors of model mutation testing code them."""
