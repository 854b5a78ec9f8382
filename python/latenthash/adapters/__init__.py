"""Other engines' search and computing, behind this library's interfaces: optional extras."""
