"""One module a study, each a bundle of pure functions for one replica."""
