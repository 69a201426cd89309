"""J and F, exact, for masks and label maps, and what is summed up from them."""
