"""A web page that removes objects from clips."""
