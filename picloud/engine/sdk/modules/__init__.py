"""One file for each module of scripts, named as scripts name it."""
