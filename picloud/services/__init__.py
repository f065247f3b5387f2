"""What scripts can do to the world: the services behind the modules that a script calls."""
